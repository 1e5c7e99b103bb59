package journal

import "context"

// Begin makes the stream of a journal that goes on behind a sequence, as if all up to
// it had been written and trimmed: what stores that are sealed through it go on with
// when they were restored from a backup. There must be no stream.
func Begin(ctx context.Context, config Config, sequence uint64) error {
	s, err := connect(&config)
	if err != nil {
		return err
	}
	defer s.close()
	return s.create(ctx, sequence+1)
}
