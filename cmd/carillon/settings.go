package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const environmentPrefix = "CARILLON_"

// settings fills the flags of a verb that were not given on the command line
// from the environment, then from one YAML file, and remembers where each value
// came from. The flags are the only list of settings there is: the environment's
// and the file's names follow from theirs.
type settings struct {
	flags   *pflag.FlagSet
	sources map[string]string // flag → "flag", "environment", or the file's path; absent: the default
}

// environmentName is the variable that sets a flag: --seal-every is
// CARILLON_SEAL_EVERY.
func environmentName(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// meta are flags that say how to run, not what to be; they come from the command
// line alone.
var meta = []string{"help", "print-config"}

// loadSettings applies environment and file to the flags of cmd. The file is
// named by --config, or by CARILLON_CONFIG.
func loadSettings(cmd *cobra.Command) (*settings, error) {
	s := &settings{flags: cmd.Flags(), sources: make(map[string]string)}
	s.flags.Visit(func(f *pflag.Flag) { s.sources[f.Name] = "flag" })
	var errs []error
	s.flags.VisitAll(func(f *pflag.Flag) {
		value, ok := os.LookupEnv(environmentName(f.Name))
		if !ok || s.sources[f.Name] != "" || slices.Contains(meta, f.Name) {
			return
		}
		if err := setFrom(f.Value, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", environmentName(f.Name), value, err))
		}
		s.sources[f.Name] = "environment"
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if path := s.flags.Lookup("config").Value.String(); path != "" {
		return s, s.loadFile(path)
	}
	return s, nil
}

func (s *settings) loadFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := s.flags.Lookup(name)
		if f == nil || name == "config" || slices.Contains(meta, name) {
			return fmt.Errorf("configuration file %s: unknown setting %q (see --print-config for all of them)", path, name)
		}
		if s.sources[name] != "" {
			continue
		}
		if err := setFrom(f.Value, values[name]); err != nil {
			return fmt.Errorf("configuration file %s: %s: %w", path, name, err)
		}
		s.sources[name] = path
	}
	return nil
}

// setFrom sets a flag to what the environment or a file has for it: one value, or, for a flag
// that may be repeated, maybe a list, or nothing.
func setFrom(flag pflag.Value, value any) error {
	if value == nil {
		value = ""
	}
	several, repeats := flag.(pflag.SliceValue)
	list, isList := value.([]any)
	_, isMap := value.(map[string]any)
	switch {
	case isMap, isList && !repeats:
		return errors.New("want one value")
	case repeats && value == "":
		return several.Replace(nil)
	case isList:
		texts := make([]string, len(list))
		for i := range list {
			texts[i] = fmt.Sprint(list[i])
		}
		return several.Replace(texts)
	}
	return flag.Set(fmt.Sprint(value))
}

// asked tells whether somebody chose the value, be it the default's.
func (s *settings) asked(flag string) bool { return s.sources[flag] != "" }

// print writes all settings as a file that --config takes, with their sources.
func (s *settings) print(w io.Writer) error {
	var err error
	s.flags.VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Name == "config" || slices.Contains(meta, f.Name) {
			return
		}
		var value []byte
		if several, repeats := f.Value.(pflag.SliceValue); repeats {
			value = fmt.Append(nil, "[", strings.Join(quotedAll(several.GetSlice()), ", "), "]")
		} else if value, err = yaml.Marshal(f.Value.String()); err != nil {
			return
		}
		source := s.sources[f.Name]
		if source == "" {
			source = "default"
		}
		_, err = fmt.Fprintf(w, "# %s (%s; %s)\n%s: %s\n", f.Usage, source, environmentName(f.Name), f.Name, strings.TrimSpace(string(value)))
	})
	return err
}

// quotedAll is each text as YAML reads it inside a list.
func quotedAll(texts []string) []string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = strconv.Quote(text)
	}
	return quoted
}

// sizeFlag is a number of bytes, as people write it: 20GB, 1.5TiB, 4096; 0 for none.
type sizeFlag int64

// sizeUnits are those that sizeFlag reads, larger ones first.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1},
}

func (s *sizeFlag) Set(text string) error {
	number, unit := text, 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(strings.ToUpper(text), strings.ToUpper(u.name)); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !(value >= 0) || value*unit > 1<<60 {
		return fmt.Errorf("%q is no size: want a number of bytes, or one with a unit, like 20GB or 500MiB", text)
	}
	*s = sizeFlag(value * unit)
	return nil
}

func (s *sizeFlag) String() string {
	for _, u := range sizeUnits {
		if n := int64(*s); n >= int64(u.bytes) && n%int64(u.bytes) == 0 {
			return strconv.FormatInt(n/int64(u.bytes), 10) + u.name
		}
	}
	return "0"
}

// Type is what --help calls the value.
func (s *sizeFlag) Type() string { return "size" }
