// Package membership says which nodes an object cluster has. In come registrations and heartbeats of nodes
// and changes that an operator asks for; out go states, numbered one after the other by a key-value bucket
// of NATS JetStream, and the views that package replica works by. Package object/server runs it
// in every node, and the verbs of cmd/carillon ask for changes by HTTP.
package membership

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"carillon/object/placement"
	"carillon/object/replica"
)

var (
	// ErrChanged means that the state is not the one that a change was made of.
	ErrChanged = errors.New("the cluster was changed meanwhile")
	// ErrMoving means that objects still move after the last change.
	ErrMoving = errors.New("objects are still moving after the last change")
	// ErrMember is wrapped by errors about nodes that are in the cluster, or are not.
	ErrMember = errors.New("cannot change the cluster")
)

// Node is a node of a cluster.
type Node struct {
	Name    string  `json:"name"`
	Address string  `json:"address"` // http://HOST:PORT or https://HOST:PORT
	Zone    string  `json:"zone,omitempty"`
	Weight  float64 `json:"weight"`
}

// CheckName tells whether a node may be called so.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	if !ok {
		return fmt.Errorf("node %.80q: a name has 1 to 64 letters, digits, - and _", name)
	}
	return nil
}

// State is a cluster at an epoch.
type State struct {
	Epoch           uint64   `json:"epoch"`
	Transformations string   `json:"transformations"` // one a copy, see placement
	Need            int      `json:"need,omitempty"`  // acknowledgements of a write; 0 for most of the copies
	Nodes           []Node   `json:"nodes"`
	Before          []Node   `json:"before,omitempty"` // while objects move: where they may be besides
	Lost            []string `json:"lost,omitempty"`   // nodes of Before whose objects are gone for good
}

// First is the state of a new cluster.
func First(transformations string, need int, nodes ...Node) (State, error) {
	s := State{Epoch: 1, Transformations: transformations, Need: need, Nodes: nodes}
	_, err := s.View()
	return s, err
}

// View is the state as package replica works by it. It checks the state.
func (s State) View() (replica.View, error) {
	transformations, err := placement.ParseTransformations(s.Transformations)
	if err != nil {
		return replica.View{}, err
	}
	if s.Epoch == 0 || s.Need < 0 || s.Need > len(transformations) {
		return replica.View{}, fmt.Errorf("%w: epoch %d, %d acknowledgements of %d copies", ErrMember, s.Epoch, s.Need, len(transformations))
	}
	v := replica.View{Epoch: s.Epoch, Lost: s.Lost}
	if v.Now, err = mapOf(transformations, s.Nodes); err != nil {
		return v, err
	}
	if len(s.Before) > 0 {
		v.Before, err = mapOf(transformations, s.Before)
	}
	return v, err
}

func mapOf(transformations []placement.Transformation, nodes []Node) (*placement.Map, error) {
	members := make([]placement.Node, len(nodes))
	for i, n := range nodes {
		if err := CheckName(n.Name); err != nil {
			return nil, err
		}
		members[i] = placement.Node{Name: n.Name, Zone: n.Zone, Weight: n.Weight}
	}
	return placement.NewMap(transformations, members)
}

// Addresses is where all nodes are, those of before included.
func (s State) Addresses() map[string]string {
	addresses := make(map[string]string)
	for _, n := range slices.Concat(s.Before, s.Nodes) {
		addresses[n.Name] = n.Address
	}
	return addresses
}

// Moving tells whether objects may still be elsewhere than Nodes says.
func (s State) Moving() bool { return len(s.Before) > 0 }

// Has tells whether a node is in the cluster.
func (s State) Has(name string) bool { return index(s.Nodes, name) >= 0 }

func index(nodes []Node, name string) int {
	return slices.IndexFunc(nodes, func(n Node) bool { return n.Name == name })
}

// next begins a state after this one, from which objects move.
func (s State) next() (State, error) {
	if s.Moving() {
		return s, ErrMoving
	}
	n := s
	n.Epoch++
	n.Before, n.Nodes, n.Lost = s.Nodes, slices.Clone(s.Nodes), nil
	return n, nil
}

// Join is the state with more nodes. A node that is there already comes back empty: its objects are
// given up for lost, and copied from the others. That must be meant, and is if replace.
func (s State) Join(replace bool, nodes ...Node) (State, error) {
	n, err := s.next()
	if err != nil {
		return s, err
	}
	for _, node := range nodes {
		switch i := index(n.Nodes, node.Name); {
		case i < 0 && replace:
			return s, fmt.Errorf("%w: %s is not in it, so it cannot be replaced", ErrMember, node.Name)
		case i < 0:
			n.Nodes = append(n.Nodes, node)
		case !replace:
			return s, fmt.Errorf("%w: %s is in it already; if it lost its objects, say so", ErrMember, node.Name)
		default:
			n.Nodes[i] = node
			n.Lost = append(n.Lost, node.Name)
		}
	}
	_, err = n.View()
	return n, err
}

// Leave is the state without nodes. Their objects are copied from them first, unless they are lost.
func (s State) Leave(lost bool, names ...string) (State, error) {
	n, err := s.next()
	if err != nil {
		return s, err
	}
	for _, name := range names {
		i := index(n.Nodes, name)
		if i < 0 {
			return s, fmt.Errorf("%w: %.80q is not in it", ErrMember, name)
		}
		n.Nodes = slices.Delete(n.Nodes, i, i+1)
		if lost {
			n.Lost = append(n.Lost, name)
		}
	}
	if len(n.Nodes) == 0 {
		return s, fmt.Errorf("%w: no node would be left", ErrMember)
	}
	_, err = n.View()
	return n, err
}

// Settle is the state when everything has moved.
func (s State) Settle() State {
	s.Epoch++
	s.Before, s.Lost = nil, nil
	return s
}

// Newcomers are the nodes that have to be admitted: they had no part in the state before, or lost it.
func (s State) Newcomers() []Node {
	var nodes []Node
	for _, n := range s.Nodes {
		if s.Moving() && (index(s.Before, n.Name) < 0 || slices.Contains(s.Lost, n.Name)) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
