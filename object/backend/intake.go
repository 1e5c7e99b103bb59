package backend

import (
	"context"
	"errors"
	"fmt"
	"io"

	"carillon/object"
)

// Intake reads the body of a put, and fails where it is not what was announced. Either Head
// returns all of it, or Read goes on from its beginning.
type Intake struct {
	ctx    context.Context
	body   io.Reader
	name   string
	put    object.Put
	head   []byte // read by Head and not yet returned by Read
	read   int64  // bytes read of body
	summer *object.Summer
	sum    object.Sum
}

// NewIntake checks name and options of a put.
func NewIntake(ctx context.Context, name string, body io.Reader, put object.Put) (*Intake, error) {
	if err := CheckWrite(name, put.Version); err != nil {
		return nil, err
	}
	if put.Size < object.UnknownSize {
		return nil, fmt.Errorf("%w: size %d", object.ErrSize, put.Size)
	}
	return &Intake{ctx: ctx, body: body, name: name, put: put}, nil
}

// Weigh checks a put of a content in memory, and describes it.
func Weigh(put *object.ContentPut) (object.Info, error) {
	if err := CheckWrite(put.Name, put.Version); err != nil {
		return object.Info{}, err
	}
	info := object.Info{Name: put.Name, Version: put.Version, Size: int64(len(put.Content)), Sum: object.SumOf(put.Content)}
	if put.Sum != nil && *put.Sum != info.Sum {
		return object.Info{}, fmt.Errorf("put %q: %w: it is %s, announced was %s", put.Name, object.ErrSum, info.Sum, *put.Sum)
	}
	return info, nil
}

// CheckWrite checks what any write must have.
func CheckWrite(name string, version object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if version.IsZero() {
		return fmt.Errorf("write %q: %w: it is zero", name, object.ErrVersion)
	}
	return nil
}

// Head reads the body if it has at most limit bytes, into the buffer or, if that is too small, another one.
// If it is longer, whole is false, and Read returns everything from the beginning on; the buffer is in use until then.
func (in *Intake) Head(buffer []byte, limit int) (content []byte, whole bool, err error) {
	if in.put.Size > int64(limit) {
		return nil, false, nil
	}
	capacity := int(in.put.Size)
	if in.put.Size == object.UnknownSize {
		capacity = min(limit, 4096)
	}
	if content = buffer[:0]; cap(content) <= capacity {
		content = make([]byte, 0, capacity+1) // one more, to meet the end without growing
	}
	for len(content) <= limit {
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := in.fill(content[len(content):min(cap(content), limit+1)])
		content = content[:len(content)+n]
		if errors.Is(err, io.EOF) && len(content) <= limit {
			in.sum = object.SumOf(content)
			return content, true, in.checkSum()
		}
		if err != nil && !errors.Is(err, io.EOF) { // the end may come with the byte that is too much
			return nil, false, err
		}
	}
	in.head = content
	return nil, false, nil
}

// Read returns io.EOF only after a body of the announced size and checksum.
func (in *Intake) Read(p []byte) (n int, err error) {
	if in.summer == nil {
		summer := object.NewSummer()
		in.summer = &summer
	}
	if len(in.head) > 0 {
		n = copy(p, in.head)
		in.head = in.head[n:]
	} else {
		n, err = in.fill(p)
	}
	_, _ = in.summer.Write(p[:n])
	if errors.Is(err, io.EOF) {
		in.sum = in.summer.Sum()
		if err := in.checkSum(); err != nil {
			return n, err
		}
	}
	return n, err
}

// fill reads from the body and counts.
func (in *Intake) fill(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, fmt.Errorf("put %q: %w", in.name, err)
	}
	n, err := in.body.Read(p)
	in.read += int64(n)
	switch {
	case in.put.Size != object.UnknownSize && in.read > in.put.Size:
		return 0, fmt.Errorf("put %q: %w: it is longer than %d bytes", in.name, object.ErrSize, in.put.Size)
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("put %q: read the body at byte %d: %w", in.name, in.read, err)
	case in.put.Size != object.UnknownSize && in.read < in.put.Size:
		return n, fmt.Errorf("put %q: %w: %d bytes came, %d were announced", in.name, object.ErrSize, in.read, in.put.Size)
	}
	return n, io.EOF
}

func (in *Intake) checkSum() error {
	if in.put.Sum != nil && *in.put.Sum != in.sum {
		return fmt.Errorf("put %q: %w: it is %s, announced was %s", in.name, object.ErrSum, in.sum, *in.put.Sum)
	}
	return nil
}

// Info describes the body, which has been read to its end.
func (in *Intake) Info() object.Info {
	return object.Info{Name: in.name, Version: in.put.Version, Size: in.read, Sum: in.sum}
}
