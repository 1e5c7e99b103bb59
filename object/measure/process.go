package measure

import (
	"context"
	"encoding/json"
	"errors"

	"carillon/peer"
)

// process is a server under measurement.
type process struct {
	*peer.Child
	name    string
	command []string
	address string // it answers when connections to it are taken
}

// start begins the process and waits until it answers.
func (p *process) start(ctx context.Context) (err error) {
	p.Child, err = peer.Spawn(ctx, p.name, p.command, peer.Listens(p.address))
	return err
}

// NodeVerb is what the command of a run is to be given before the text for ServeNode.
func NodeVerb() []string { return []string{"bench", "object-node"} }

// node is a process of a cluster.
func (r *run) node(c nodeConfig) (*process, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	command := append(append(append([]string(nil), r.Command...), NodeVerb()...), string(text))
	return &process{name: c.Name, command: command, address: c.Listen}, nil
}

// cluster is processes that are started and ended together.
type cluster []*process

func (c cluster) start(ctx context.Context) (err error) {
	for i, p := range c {
		if err := p.start(ctx); err != nil {
			return errors.Join(err, c[:i].end())
		}
	}
	return nil
}

func (c cluster) end() error {
	for _, p := range c {
		p.Kill()
	}
	return nil
}
