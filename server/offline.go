package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"carillon/directory"
	"carillon/store"
)

// Offline is the configuration with which a tool opens a data directory that no server
// uses: it answers on a free port of this machine, takes nothing in, and drops nothing
// for its age, since it does not know how long the server keeps it.
func Offline(dir string, logger *slog.Logger) (Config, error) {
	c := Config{
		Data: dir, HTTP: Address{Addr: "127.0.0.1:0"}, SealEvery: time.Hour, FutureTolerance: time.Minute,
		SeriesCaches: directory.DefaultCaches(), Logger: logger,
	}
	text, err := os.ReadFile(filepath.Join(dir, IdentityName))
	if err != nil {
		return c, fmt.Errorf("data directory: %w", err)
	}
	var i identity
	if err := json.Unmarshal(text, &i); err != nil {
		return c, fmt.Errorf("data directory %s: %s: %w", dir, IdentityName, err)
	}
	c.Partitions = i.Partitions
	for _, text := range i.Tiers {
		resolution, err := time.ParseDuration(text)
		if err != nil {
			return c, fmt.Errorf("data directory %s: %s: %w", dir, IdentityName, err)
		}
		c.Tiers = append(c.Tiers, store.Tier{Resolution: resolution, Retention: store.LongestRetention(resolution)})
	}
	return c, nil
}
