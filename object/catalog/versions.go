package catalog

import (
	"slices"

	"carillon/object"
)

// Entry is a version of a name. L says where a backend keeps it.
type Entry[L any] struct {
	Version object.Version
	Size    int64
	Sum     object.Sum
	Deleted bool
	Where   L
}

// EntryOf is the entry of what info describes.
func EntryOf[L any](info object.Info, where L) Entry[L] {
	return Entry[L]{Version: info.Version, Size: info.Size, Sum: info.Sum, Deleted: info.Deleted, Where: where}
}

// Info describes the entry under its name.
func (e *Entry[L]) Info(name string) object.Info {
	return object.Info{Name: name, Version: e.Version, Size: e.Size, Sum: e.Sum, Deleted: e.Deleted}
}

// Versions is what is kept of a name, newest first. It is never changed, so that it can be shared.
type Versions[L any] []Entry[L]

// Find returns a version, the newest for the zero Version.
func (v Versions[L]) Find(version object.Version) (Entry[L], bool) {
	i, there := 0, len(v) > 0
	if !version.IsZero() {
		i, there = v.search(version)
	}
	if !there {
		return Entry[L]{}, false
	}
	return v[i], true
}

func (v Versions[L]) search(version object.Version) (int, bool) {
	return slices.BinarySearchFunc(v, version, func(e Entry[L], version object.Version) int { return version.Compare(e.Version) })
}

// Infos describes the versions under their name.
func (v Versions[L]) Infos(name string) []object.Info {
	infos := make([]object.Info, len(v))
	for i := range v {
		infos[i] = v[i].Info(name)
	}
	return infos
}

// newest describes the newest version. It is the zero Info if there is none.
func (v Versions[L]) newest(name string) object.Info {
	if len(v) == 0 {
		return object.Info{}
	}
	return v[0].Info(name)
}

// Decide tells what a write of a version would do if so many are kept: write is false if nothing is to be written, because
// the version is there or too old to be kept. It returns an error if the condition is not met, or
// if the version is there with another content.
func (v Versions[L]) Decide(keep int, info object.Info, condition object.Condition, repair bool) (write bool, err error) {
	i, there := v.search(info.Version)
	switch {
	case there && (v[i].Deleted != info.Deleted || v[i].Sum != info.Sum):
		return false, &object.ConflictError{Newest: v.newest(info.Name)}
	case there:
		return repair, nil // a write that is repeated has met its condition the first time
	}
	if err := condition.Check(v.newest(info.Name)); err != nil {
		return false, err
	}
	return i < keep, nil
}

// Add puts an entry in its place, if so many are kept. It displaces the entry of the same version, and the
// oldest if there are too many, which may be the one that came.
func (v Versions[L]) Add(keep int, e Entry[L]) (after, displaced Versions[L]) {
	i, there := v.search(e.Version)
	after = make(Versions[L], 0, min(len(v)+1, keep+1))
	after = append(append(after, v[:i]...), e)
	if there {
		displaced = append(displaced, v[i])
		i++
	}
	after = append(after, v[i:]...)
	if len(after) > keep {
		displaced = append(displaced, after[keep:]...)
		after = after[:keep]
	}
	return after, displaced
}

// CheckDrop returns a *ConflictError if the newest version is newer than upTo: then the name must not be dropped.
func (v Versions[L]) CheckDrop(name string, upTo object.Version) error {
	if newest := v.newest(name); newest.Version.Compare(upTo) > 0 {
		return &object.ConflictError{Newest: newest}
	}
	return nil
}
