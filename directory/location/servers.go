package location

import (
	"fmt"
	"maps"
	"slices"
)

// maxServers bounds the servers ever registered, because their names stay in
// memory: a number is never given to another name.
const maxServers = 1 << 16

// servers is who may be named by a site. It never changes: a change makes another
// one. A name keeps its number for ever, so that a record read a moment ago
// resolves with the newest table whatever was unregistered since.
type servers struct {
	list    []server
	numbers map[string]uint32
}

type server struct {
	name       string
	registered bool
}

func (s *servers) name(number uint32) string {
	if int(number) >= len(s.list) {
		return ""
	}
	return s.list[number].name
}

// find is the number of a registered server.
func (s *servers) find(name string) (uint32, error) {
	number, ok := s.numbers[name]
	if !ok || !s.list[number].registered {
		return 0, fmt.Errorf("%w: %.80q is not registered", ErrUnknownServer, name)
	}
	return number, nil
}

// with is the table after one server's state was set; a new name gets the next
// number.
func (s *servers) with(name string, registered bool) (*servers, uint32) {
	next := &servers{list: slices.Clone(s.list), numbers: s.numbers}
	number, known := s.numbers[name]
	if !known {
		number = uint32(len(s.list))
		next.list = append(next.list, server{})
		next.numbers = maps.Clone(s.numbers)
		next.numbers[name] = number
	}
	next.list[number] = server{name: name, registered: registered}
	return next, number
}

// Servers are the names of the registered servers, sorted.
func (d *Directory) Servers() []string {
	var names []string
	for _, s := range d.servers.Load().list {
		if s.registered {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}
