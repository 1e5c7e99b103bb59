package location

import (
	"fmt"
	"log/slog"
)

// pebbleLogger hands Pebble's messages to slog. Its chatter is for debugging.
type pebbleLogger struct{ logger *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("location: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error("location: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return. Pebble calls it when it cannot go on in a way that no
// caller can be told of; the next start reads what is really there. (A commit
// whose sync fails does not come here, see commit.)
func (l pebbleLogger) Fatalf(format string, args ...any) {
	message := "location: " + fmt.Sprintf(format, args...)
	l.logger.Error(message)
	panic(message)
}
