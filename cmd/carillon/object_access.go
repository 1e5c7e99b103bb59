package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"carillon/object"
	"carillon/object/node"
	"carillon/object/placement"
	"carillon/object/replica"
)

// barBytes is the size from which a progress bar is worth its while.
const barBytes = 8 << 20

// counted tells a progress bar what is read.
type counted struct {
	io.ReadCloser
	done int64
	tell func(done int64)
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.done += int64(n)
	r.tell(r.done)
	return n, err
}

func objectPut(client *objectClient) *cobra.Command {
	var ifVersion, content string
	var ifAbsent bool
	cmd := &cobra.Command{
		Use:   "put NAME FILE | put --content HASH FILE",
		Short: "Store a file under a name; - is standard input",
		Long: `Store a file under a name. With --if-version or --if-absent it is compare-and-set: nothing is stored
if something else is there, and the name is written so for ever. With --content the
name is made of the content's hash, such as blake3/6437b3ac….`,
		Example: `  carillon object put reports/2026-03.pdf march.pdf
  tar c /etc | carillon object put backup/etc.tar -
  carillon object put leader me.txt --if-absent
  carillon object put --content blake3 march.pdf`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			expected, err := versionFlag("if-version", ifVersion)
			if err != nil {
				return err
			}
			if (content == "") != (len(args) == 2) || ifAbsent && ifVersion != "" {
				return errors.New("want NAME and FILE, or --content and FILE; and --if-version or --if-absent, not both")
			}
			return client.do(cmd, func(c *objectCall) error {
				spool, err := c.take(cmd, args[len(args)-1])
				if err != nil {
					return err
				}
				defer spool.Close()
				name := args[0]
				if content != "" {
					if name, err = contentName(content, spool); err != nil {
						return err
					}
				}
				info, err := c.put(name, spool, ifAbsent || ifVersion != "", expected)
				if err != nil {
					return err
				}
				return c.show(node.Describe(info), func(w io.Writer) {
					fmt.Fprintf(w, "stored %s: %d bytes, version %s\n", info.Name, info.Size, info.Version)
				})
			})
		},
	}
	cmd.Flags().StringVar(&ifVersion, "if-version", "", "only if this is the newest version")
	cmd.Flags().BoolVar(&ifAbsent, "if-absent", false, "only if there is no object of this name")
	cmd.Flags().StringVar(&content, "content", "", "make the name of the content with this hash: sha256, sha512 or blake3")
	return cmd
}

// take reads a file or standard input as a whole, so that each copy can be sent, and sent again.
func (c *objectCall) take(cmd *cobra.Command, path string) (*node.Spool, error) {
	in, size := io.NopCloser(cmd.InOrStdin()), int64(object.UnknownSize)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stat, err := file.Stat()
		if err != nil {
			return nil, err
		}
		if !stat.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no file", path)
		}
		in, size = file, stat.Size()
	}
	return node.Take(c.ctx, "", in, size, nil)
}

func contentName(hash string, spool *node.Spool) (string, error) {
	t, err := placement.ParseTransformation(hash)
	if err != nil {
		return "", fmt.Errorf("--content: %w", err)
	}
	in, err := spool.Source().Open()
	if err != nil {
		return "", err
	}
	name, err := t.ContentName(in)
	return name, errors.Join(err, in.Close())
}

func (c *objectCall) put(name string, spool *node.Spool, conditional bool, expected object.Version) (object.Info, error) {
	source := spool.Source()
	if source.Size >= barBytes {
		open, first := source.Open, true
		source.Open = func() (io.ReadCloser, error) {
			in, err := open()
			if err != nil || !first {
				return in, err
			}
			first = false // the bar is that of one copy; the others go beside it
			return &counted{in, 0, func(done int64) { c.progress.update("sending "+name, uint64(done), uint64(source.Size)) }}, nil
		}
		source.Open = serially(source.Open)
	}
	if conditional {
		return c.coordinator.CompareAndSet(c.ctx, name, expected, source)
	}
	return c.coordinator.Put(c.ctx, name, source)
}

// serially lets one goroutine at a time open.
func serially(open func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	turn := make(chan struct{}, 1)
	return func() (io.ReadCloser, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		return open()
	}
}

func objectGet(client *objectClient) *cobra.Command {
	var out, version, mode string
	var o object.Get
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Write an object to standard output or a file",
		Long: `Write an object to standard output or a file. What comes is compared with the object's checksum; a file is
put in place only if it is right. --read newest asks so many nodes that the newest version is among
them; race, failover and one ask fewer and may see an older one.`,
		Example: `  carillon object get reports/2026-03.pdf -o march.pdf
  carillon object get video --offset 1000000 --length 65536 > part
  carillon object get config --read race`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Version, err = versionFlag("version", version); err != nil {
				return err
			}
			read, ok := map[string]replica.Read{"newest": replica.Newest, "race": replica.Race, "failover": replica.Failover, "one": replica.One}[mode]
			if !ok || o.Offset < 0 || o.Length < 0 {
				return fmt.Errorf("--read %s, --offset %d, --length %d: want newest, race, failover or one, and 0 or more", mode, o.Offset, o.Length)
			}
			return client.do(cmd, func(c *objectCall) error {
				body, err := c.coordinator.Get(c.ctx, args[0], read, o)
				if err != nil {
					return err
				}
				return errors.Join(c.write(body, out), body.Close())
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write; empty for standard output")
	cmd.Flags().StringVar(&version, "version", "", "this version, of those that history lists")
	cmd.Flags().Int64Var(&o.Offset, "offset", 0, "first byte")
	cmd.Flags().Int64Var(&o.Length, "length", 0, "how many bytes; 0 for all that follow")
	cmd.Flags().StringVar(&mode, "read", "newest", "newest, race, failover or one")
	return cmd
}

// write copies a body to a file, in one step, or to standard output.
func (c *objectCall) write(body object.Body, path string) (err error) {
	_, length := body.Range()
	var from io.Reader = body
	if length >= barBytes && path != "" {
		from = &counted{io.NopCloser(body), 0, func(done int64) {
			c.progress.update("receiving "+body.Info().Name, uint64(done), uint64(length))
		}}
	}
	if path == "" {
		_, err := io.Copy(c.out, from)
		return err
	}
	temporary := path + ".part"
	file, err := os.Create(temporary)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}

func objectRemove(client *objectClient) *cobra.Command {
	var ifVersion string
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "Delete objects",
		Example: `  carillon object rm reports/2026-03.pdf
  carillon object rm leader --if-version 8001…`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			expected, err := versionFlag("if-version", ifVersion)
			if err != nil {
				return err
			}
			return client.do(cmd, func(c *objectCall) error {
				var marks []object.Info
				for _, name := range names {
					var mark object.Info
					if ifVersion != "" {
						mark, err = c.coordinator.CompareAndDelete(c.ctx, name, expected)
					} else {
						mark, err = c.coordinator.Delete(c.ctx, name)
					}
					if err != nil {
						return err
					}
					marks = append(marks, mark)
				}
				if c.json {
					return c.showObjects(marks)
				}
				_, err := fmt.Fprintf(c.out, "deleted %s\n", strings.Join(names, ", "))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&ifVersion, "if-version", "", "only if this is the newest version, as for put")
	return cmd
}

func objectStat(client *objectClient) *cobra.Command {
	return &cobra.Command{
		Use:     "stat NAME...",
		Short:   "Describe the newest versions of objects",
		Long:    "Describe the newest versions of objects. The exit status is 1 if one is not there.",
		Example: "  carillon object stat reports/2026-03.pdf --json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.do(cmd, func(c *objectCall) error {
				var infos []object.Info
				var absent []string
				for _, name := range names {
					info, err := c.coordinator.Stat(c.ctx, name)
					switch {
					case errors.Is(err, object.ErrNotFound):
						absent = append(absent, name)
					case err != nil:
						return err
					default:
						infos = append(infos, info)
					}
				}
				if err := c.showObjects(infos); err != nil {
					return err
				}
				if len(absent) > 0 {
					return fmt.Errorf("%w: %q", errNotThere, absent)
				}
				return nil
			})
		},
	}
}

func objectHistory(client *objectClient) *cobra.Command {
	return &cobra.Command{
		Use:     "history NAME",
		Short:   "List the versions of a name that are kept, newest first",
		Example: "  carillon object history reports/2026-03.pdf",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return client.do(cmd, func(c *objectCall) error {
				versions, err := c.coordinator.History(c.ctx, args[0])
				if err != nil {
					return err
				}
				return c.showObjects(versions)
			})
		},
	}
}

func objectList(client *objectClient) *cobra.Command {
	var o object.List
	var limit int
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List objects whose names begin so, in order",
		Example: `  carillon object ls reports/
  carillon object ls --limit 100 --after reports/2026-03.pdf
  carillon object ls --deleted --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Prefix = args[0]
			}
			if limit < 0 {
				return fmt.Errorf("--limit %d: want 0 or more", limit)
			}
			return client.do(cmd, func(c *objectCall) error {
				infos, err := c.list(c.ctx, o, limit)
				if err != nil {
					return err
				}
				return c.showObjects(infos)
			})
		},
	}
	cmd.Flags().StringVar(&o.After, "after", "", "only names behind this one")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many; 0 for all")
	cmd.Flags().BoolVar(&o.Deleted, "deleted", false, "also names that were deleted a short time ago")
	return cmd
}

// list gets as many pages as it takes.
func (c *objectCall) list(ctx context.Context, o object.List, limit int) ([]object.Info, error) {
	var infos []object.Info
	for {
		if limit > 0 {
			o.Limit = min(limit-len(infos), object.MaxPage)
		}
		page, err := c.coordinator.List(ctx, o)
		if err != nil {
			return nil, err
		}
		infos = append(infos, page.Objects...)
		if page.Next == "" || limit > 0 && len(infos) >= limit {
			return infos, nil
		}
		o.After = page.Next
	}
}
