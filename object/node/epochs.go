package node

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	epochName   = "EPOCH"
	epochFormat = "carillon object epoch 1\nepoch %d\n"
	crcFormat   = "crc32c %08x\n"
)

// Epochs keeps a node's epoch in a file of the folder that its objects are in, so that who loses these
// loses it, too. It implements replica.Epochs.
type Epochs struct{ Dir string }

// Load reads the epoch. A file that cannot be read is an error and not a blank node: to declare a
// node lost is an operator's to do.
func (e Epochs) Load() (uint64, error) {
	text, err := os.ReadFile(filepath.Join(e.Dir, epochName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var epoch uint64
	if _, err := fmt.Sscanf(string(text), epochFormat, &epoch); err != nil || epoch == 0 || string(text) != epochText(epoch) {
		return 0, fmt.Errorf("%s is damaged: %.120q", filepath.Join(e.Dir, epochName), text)
	}
	return epoch, nil
}

// Save replaces the file in one step.
func (e Epochs) Save(epoch uint64) error {
	return WriteDurably(filepath.Join(e.Dir, epochName), []byte(epochText(epoch)))
}

func epochText(epoch uint64) string {
	text := fmt.Sprintf(epochFormat, epoch)
	return text + fmt.Sprintf(crcFormat, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

// WriteDurably replaces a file in one step, which a crash leaves done or undone.
func WriteDurably(path string, text []byte) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
