package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carillon/object"
	"carillon/object/membership"
	"carillon/object/placement"
	"carillon/object/replica"
	"carillon/pause"
)

func objectNodes(client *objectClient) *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the cluster, and those that could join",
		Example: `  carillon object nodes
  carillon object nodes --node http://node-2:9490 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client.call(cmd)
			if err != nil {
				return err
			}
			defer c.peers.Close()
			return c.show(c.status, func(w io.Writer) { printNodes(w, &c.status) })
		},
	}
}

func printNodes(w io.Writer, s *membership.Status) {
	alive := func(name string) bool {
		return slices.ContainsFunc(s.Alive, func(n membership.Node) bool { return n.Name == name })
	}
	fmt.Fprintln(w, "node\tis\theartbeat\taddress\tzone\tweight")
	line := func(n membership.Node, is string) {
		beats := "yes"
		if !alive(n.Name) {
			beats = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%g\n", n.Name, is, beats, n.Address, n.Zone, n.Weight)
	}
	for _, n := range s.State.Nodes {
		line(n, "member")
	}
	for _, n := range s.State.Before {
		if !s.State.Has(n.Name) {
			line(n, "leaving")
		}
	}
	for _, n := range s.Alive {
		if !s.State.Has(n.Name) && !slices.ContainsFunc(s.State.Before, func(b membership.Node) bool { return b.Name == n.Name }) {
			line(n, "could join")
		}
	}
	fmt.Fprintf(w, "\nepoch %d, copies by %s\n", s.State.Epoch, s.State.Transformations)
	if s.State.Moving() {
		fmt.Fprintf(w, "objects are moving; those up to %q have moved\n", s.Moved)
	}
	if s.Unreachable != "" {
		fmt.Fprintf(w, "as node %s remembers it: %s\n", s.Node, s.Unreachable)
	}
}

// moveFlags are those of the verbs that move objects.
type moveFlags struct {
	dryRun bool
	rate   int64
}

func (f *moveFlags) add(cmd *cobra.Command) {
	f.rate = 64 << 20
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would move, and change nothing")
	cmd.Flags().Var((*sizeFlag)(&f.rate), "rate", "most bytes to move a second; 0 for as fast as it goes")
}

func objectJoin(client *objectClient) *cobra.Command {
	var move moveFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "join NODE...",
		Short: "Take nodes into the cluster and move their share of the objects to them",
		Long: `Take nodes into the cluster and move their share of the objects to them. They must run; carillon object nodes
lists those that could join. Reads and writes go on. The command can be interrupted; run it
again, and it goes on.

With --replace they are nodes of the cluster that lost their objects, and get them back from the others.`,
		Example: `  carillon object join node-4 --dry-run
  carillon object join node-4 --rate 20MB
  carillon object join node-2 --replace`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.do(cmd, func(c *objectCall) error {
				if c.state.Moving() && joined(c.state, names, replace) {
					return c.move(c.state, c.status.Moved, &move)
				}
				var nodes []membership.Node
				for _, name := range names {
					i := slices.IndexFunc(c.status.Alive, func(n membership.Node) bool { return n.Name == name })
					if i < 0 {
						return fmt.Errorf("node %.80q has no heartbeat: does it run, with the same NATS?", name)
					}
					nodes = append(nodes, c.status.Alive[i])
				}
				next, err := c.state.Join(replace, nodes...)
				if err != nil {
					return hint(err)
				}
				return c.change(next, &move)
			})
		},
	}
	move.add(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "the nodes are in the cluster and lost their objects")
	return cmd
}

// joined tells whether the move that is under way is that of these nodes.
func joined(s membership.State, names []string, replace bool) bool {
	for _, name := range names {
		was := slices.ContainsFunc(s.Before, func(n membership.Node) bool { return n.Name == name })
		if !s.Has(name) || was != replace || replace && !slices.Contains(s.Lost, name) {
			return false
		}
	}
	return true
}

func hint(err error) error {
	if errors.Is(err, membership.ErrMoving) {
		return fmt.Errorf("%w: run the command that began it again", err)
	}
	return err
}

func objectLeave(client *objectClient) *cobra.Command {
	var move moveFlags
	var lost bool
	cmd := &cobra.Command{
		Use:   "leave NODE...",
		Short: "Move the objects of nodes to the others and take the nodes out of the cluster",
		Long: `Move the objects of nodes to the others and take the nodes out of the cluster. Reads and writes go on. The
command can be interrupted; run it again, and it goes on.

With --lost the nodes are gone for good, and so is what only they had; then nothing of theirs is waited for.`,
		Example: `  carillon object leave node-2 --dry-run
  carillon object leave node-2 --lost`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.do(cmd, func(c *objectCall) error {
				if c.state.Moving() && !slices.ContainsFunc(names, c.state.Has) {
					return c.move(c.state, c.status.Moved, &move)
				}
				next, err := c.state.Leave(lost, names...)
				if err != nil {
					return hint(err)
				}
				return c.change(next, &move)
			})
		},
	}
	move.add(cmd)
	cmd.Flags().BoolVar(&lost, "lost", false, "the nodes are gone for good")
	return cmd
}

// change shows what would move and, unless that was all that was wanted, moves it.
func (c *objectCall) change(next membership.State, f *moveFlags) error {
	view, err := next.View()
	if err != nil {
		return err
	}
	plan, err := membership.Plan(c.ctx, c.coordinator, view.Before, view.Now, func(names int64) {
		c.progress.update("planning", uint64(names), uint64(names)+1)
	})
	if err != nil {
		return err
	}
	if f.dryRun || !c.json {
		if err := c.showPlan(plan, next); err != nil {
			return err
		}
	}
	if f.dryRun {
		return nil
	}
	if err := c.members.Change(c.ctx, next); err != nil {
		return err
	}
	return c.move(next, "", f)
}

// objectPlan is a plan in JSON.
type objectPlan struct {
	Objects int64               `json:"objects"`
	Bytes   int64               `json:"bytes"`
	Moving  int64               `json:"moving"`
	Moved   int64               `json:"moved_bytes"`
	Ideal   float64             `json:"ideal_bytes"`
	Nodes   map[string]inAndOut `json:"nodes"`
}

type inAndOut struct {
	In  int64 `json:"in_bytes"`
	Out int64 `json:"out_bytes"`
}

func (c *objectCall) showPlan(plan *placement.Plan, next membership.State) error {
	t := plan.Totals()
	p := objectPlan{t.Objects, t.Bytes, t.Moving, t.Moved, t.Ideal, make(map[string]inAndOut)}
	var names []string
	for name := range next.Addresses() {
		in, out := plan.Node(name)
		p.Nodes[name] = inAndOut{in, out}
		names = append(names, name)
	}
	slices.Sort(names)
	return c.show(p, func(w io.Writer) {
		fmt.Fprintf(w, "%d of %d objects move: %s of copies are made, %s is the least possible\n\nnode\tgets\tgives\n",
			p.Moving, p.Objects, byteSize(p.Moved), byteSize(int64(p.Ideal)))
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, byteSize(p.Nodes[name].In), byteSize(p.Nodes[name].Out))
		}
	})
}

// move moves what a state says, from where an earlier run ended.
func (c *objectCall) move(s membership.State, after string, f *moveFlags) error {
	if f.dryRun {
		return fmt.Errorf("%w: there is nothing to plan", membership.ErrMoving)
	}
	coordinator, err := c.coordinate(s)
	if err != nil {
		return err
	}
	defer coordinator.Close()
	total := c.names()
	mover := membership.Mover{
		Client: c.members, Coordinator: coordinator, Rate: f.rate,
		Admit: func(ctx context.Context, name string, epoch uint64) error {
			n, err := c.peers.Client(name)
			if err != nil {
				return err
			}
			return n.Admit(ctx, epoch)
		},
		Progress: func(names int64, _ replica.Scrubbed) {
			c.progress.update("moving", uint64(names), uint64(max(total, names+1)))
		},
	}
	done, err := mover.Run(c.ctx, s, after)
	if err != nil {
		return err
	}
	return c.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "moved: %d names, %d copies made (%s), %d removed; the cluster is %s\n", done.Names, done.Copied, byteSize(done.Bytes),
			done.Dropped, nodeNames(s.Nodes))
	})
}

func nodeNames(nodes []membership.Node) string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

// names counts names, for a progress bar; it is 0 if that fails.
func (c *objectCall) names() int64 {
	infos, err := c.list(c.ctx, object.List{Deleted: true}, 0)
	if err != nil {
		return 0
	}
	return int64(len(infos))
}

func objectScrub(client *objectClient) *cobra.Command {
	var s replica.Scrub
	var rate int64 = 64 << 20
	cmd := &cobra.Command{
		Use:   "scrub [PREFIX]",
		Short: "Mend copies that are missing, stale, too many or, with --deep, damaged",
		Long: `Go over the names of all nodes and bring every copy where and how it should be. With --deep each node reads
its copies, and those with flipped bits are replaced from good ones. A scrub of everything that
settles everything also forgets deletes older than the grace. The exit status is 1 if a name
could not be settled.`,
		Example: `  carillon object scrub --deep
  carillon object scrub reports/ --rate 20MB --after reports/2026-03.pdf`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				s.Prefix = args[0]
			}
			return client.do(cmd, func(c *objectCall) error { return c.scrub(s, rate, cmd.ErrOrStderr()) })
		},
	}
	cmd.Flags().BoolVar(&s.Deep, "deep", false, "read every copy, to find flipped bits")
	cmd.Flags().StringVar(&s.After, "after", "", "only names behind this one, where an earlier scrub ended")
	cmd.Flags().Var((*sizeFlag)(&rate), "rate", "most bytes to look at a second; 0 for as fast as it goes")
	return cmd
}

func (c *objectCall) scrub(s replica.Scrub, rate int64, notes io.Writer) error {
	total, names, began, bytes := c.names(), int64(0), time.Now(), int64(0)
	s.Report = func(name string, m replica.Mended, err error) error {
		names++
		c.progress.update("scrubbing", uint64(names), uint64(max(total, names+1)))
		if err != nil {
			fmt.Fprintln(notes, "not settled:", err)
		}
		if s.Deep {
			bytes += m.Newest.Size
		} else {
			bytes += int64(m.Copied) * m.Newest.Size
		}
		ahead := time.Duration(0)
		if rate > 0 {
			ahead = time.Duration(float64(bytes)/float64(rate)*float64(time.Second)) - time.Since(began)
		}
		return pause.For(c.ctx, ahead)
	}
	done, err := c.coordinator.Scrub(c.ctx, s)
	if err != nil {
		return fmt.Errorf("ended after %q: %w", done.Last, err)
	}
	if err := c.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "scrubbed %d names: %d copies made, %d damaged ones replaced, %d removed, %d deletes forgotten\n",
			done.Names, done.Copied, done.Repaired, done.Dropped, done.Forgotten)
	}); err != nil {
		return err
	}
	if !done.Settled() {
		return fmt.Errorf("%d names are not settled; nodes that could not be listed: %q", done.Failed, done.Unheard)
	}
	return nil
}

func objectVerify(client *objectClient) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [PREFIX]",
		Short: "Have every copy read and compared with its checksum, and change nothing",
		Long: `Have every copy of the objects whose names begin so read on its node and compared with its checksum. What is wrong
is listed and nothing is changed; carillon object scrub --deep mends it. The exit status is 1 if something is wrong.`,
		Example: `  carillon object verify
  carillon object verify reports/ --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			return client.do(cmd, func(c *objectCall) error { return c.verify(prefix) })
		},
	}
}

// objectProblem is a copy that is not as it should be.
type objectProblem struct {
	Name  string `json:"name"`
	Node  string `json:"node"`
	Wrong string `json:"wrong"`
}

type objectVerified struct {
	Objects  int             `json:"objects"`
	Copies   int             `json:"copies"`
	Problems []objectProblem `json:"problems"`
}

func (c *objectCall) verify(prefix string) error {
	view, err := c.state.View()
	if err != nil {
		return err
	}
	infos, err := c.list(c.ctx, object.List{Prefix: prefix}, 0)
	if err != nil {
		return err
	}
	report := objectVerified{Objects: len(infos), Problems: []objectProblem{}}
	for i, info := range infos {
		c.progress.update("verifying", uint64(i+1), uint64(len(infos)))
		for _, name := range view.Now.Place(info.Name) {
			report.Copies++
			n, err := c.peers.Node(name)
			if err == nil {
				err = n.Check(c.ctx, info.Name, info.Version)
			}
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			if err != nil {
				report.Problems = append(report.Problems, objectProblem{info.Name, name, err.Error()})
			}
		}
	}
	if err := c.show(report, func(w io.Writer) {
		for _, p := range report.Problems {
			fmt.Fprintf(w, "%s\ton %s\t%s\n", p.Name, p.Node, p.Wrong)
		}
		fmt.Fprintf(w, "%d objects, %d copies, %d problems\n", report.Objects, report.Copies, len(report.Problems))
	}); err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("%d copies are not as they should be", len(report.Problems))
	}
	return nil
}
