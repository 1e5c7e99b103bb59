// Package location opens an object.Store by a URL. In come URLs as users write them; out go stores, or
// errors that say which part of the URL is wrong. The object verbs, nodes and archives of the command call it.
//
//	file:///folder                   a file an object
//	pack:///folder?sync=100ms        small objects in a log
//	pebble:///folder?keep=3          a Pebble database
//	jetstream:///folder              streams of a NATS server inside this process
//	jetstream://user:password@host:4222/bucket?shards=8&replicas=3
//	s3://bucket/prefix?endpoint=host:9000&plain=true
//
// All take keep, the number of versions of a name; those with a folder take sync: always (the default), none or an interval.
// A service elsewhere must be configured to sync what it acknowledges. Keys for S3 come from the
// environment, AWS's file of credentials, or the machine's role, never from the URL.
package location

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/file"
	"carillon/object/jetstream"
	"carillon/object/pack"
	"carillon/object/pebble"
	"carillon/object/s3"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/nats-io/nats.go"
)

const (
	defaultBucket   = "objects"
	defaultEndpoint = "s3.amazonaws.com"
)

// Open opens, and if need be makes, the store that a URL names.
func Open(ctx context.Context, text string, logger *slog.Logger) (object.Store, error) {
	l, err := parse(text)
	if err != nil {
		return nil, err
	}
	store, err := l.open(ctx, logger)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.url.Redacted(), err)
	}
	return store, nil
}

// Check tells what is wrong with a URL, without opening anything.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// location is a URL that was understood.
type location struct {
	url      *url.URL
	dir      string // empty: a service elsewhere
	keep     int
	sync     backend.Sync
	shards   int
	replicas int
	bucket   string
	prefix   string
	endpoint string
	region   string
	plain    bool
	creds    string
}

var errURL = errors.New("bad URL of a store")

func parse(text string) (*location, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errURL, err)
	}
	l := &location{url: u, keep: 1, bucket: defaultBucket, endpoint: defaultEndpoint}
	allowed := "keep"
	switch u.Scheme {
	case "file", "pack", "pebble":
		if u.Host != "" || u.Path == "" {
			return nil, fmt.Errorf("%w: %s: want %s:///folder, with three slashes", errURL, u.Redacted(), u.Scheme)
		}
		l.dir = u.Path
	case "jetstream":
		allowed += " shards replicas"
		if err := l.parseJetStream(); err != nil {
			return nil, err
		}
		if u.Host != "" {
			allowed += " creds"
		}
	case "s3":
		allowed += " endpoint region plain"
		if u.Host == "" || u.User != nil {
			return nil, fmt.Errorf("%w: %s: want s3://bucket/prefix, and no keys in it", errURL, u.Redacted())
		}
		l.bucket, l.prefix = u.Host, strings.Trim(u.Path, "/")
	default:
		return nil, fmt.Errorf("%w: %q: want file, pack, pebble, jetstream or s3 before the colon", errURL, u.Redacted())
	}
	if l.dir != "" {
		allowed += " sync"
	}
	return l, l.parseOptions(strings.Fields(allowed))
}

func (l *location) parseJetStream() error {
	if l.url.Host != "" {
		if name := strings.Trim(l.url.Path, "/"); name != "" {
			l.bucket = name
		}
		return nil
	}
	if l.url.Path == "" {
		return fmt.Errorf("%w: %s: want jetstream:///folder or jetstream://host/bucket", errURL, l.url.Redacted())
	}
	l.dir = l.url.Path
	return nil
}

func (l *location) parseOptions(allowed []string) error {
	query, err := url.ParseQuery(l.url.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errURL, l.url.Redacted(), err)
	}
	for option, values := range query {
		known := slices.Contains(allowed, option)
		switch {
		case !known && option == "sync":
			err = errors.New("sync is the service's to configure, it must sync what it acknowledges")
		case !known:
			err = fmt.Errorf("unknown option, want one of %s", strings.Join(allowed, ", "))
		case len(values) != 1:
			err = errors.New("given twice")
		default:
			err = l.set(option, values[0])
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %s: %w", errURL, l.url.Redacted(), option, err)
		}
	}
	return nil
}

func (l *location) set(option, value string) (err error) {
	switch option {
	case "keep":
		l.keep, err = strconv.Atoi(value)
		if err == nil && l.keep < 1 {
			err = fmt.Errorf("%d: want 1 or more", l.keep)
		}
	case "sync":
		l.sync, err = backend.ParseSync(value)
	case "shards":
		l.shards, err = strconv.Atoi(value)
	case "replicas":
		l.replicas, err = strconv.Atoi(value)
	case "plain":
		l.plain, err = strconv.ParseBool(value)
	case "endpoint":
		l.endpoint = value
	case "region":
		l.region = value
	case "creds":
		l.creds = value
	}
	return err
}

func (l *location) open(ctx context.Context, logger *slog.Logger) (object.Store, error) {
	switch l.url.Scheme {
	case "file":
		return file.Open(file.Config{Dir: l.dir, Keep: l.keep, Sync: l.sync, Logger: logger})
	case "pack":
		return pack.Open(pack.Config{Dir: l.dir, Keep: l.keep, Sync: l.sync, Logger: logger})
	case "pebble":
		return pebble.Open(pebble.Config{Dir: l.dir, Keep: l.keep, Sync: l.sync, Logger: logger})
	case "s3":
		return s3.Open(ctx, s3.Config{
			Endpoint: l.endpoint, Plain: l.plain, Region: l.region, Bucket: l.bucket, Prefix: l.prefix,
			Credentials: credentials.NewChainCredentials([]credentials.Provider{
				&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
			}),
			Keep: l.keep, Logger: logger,
		})
	}
	return l.openJetStream(ctx, logger)
}

func (l *location) openJetStream(ctx context.Context, logger *slog.Logger) (object.Store, error) {
	config := jetstream.Config{Bucket: l.bucket, Shards: l.shards, Replicas: l.replicas, Keep: l.keep, Logger: logger}
	if l.dir != "" {
		return jetstream.OpenEmbedded(ctx, l.dir, l.sync, config)
	}
	options := []nats.Option{nats.MaxReconnects(-1)}
	if l.creds != "" {
		options = append(options, nats.UserCredentials(l.creds))
	}
	conn, err := nats.Connect((&url.URL{Scheme: "nats", User: l.url.User, Host: l.url.Host}).String(), options...)
	if err != nil {
		return nil, err
	}
	config.Conn = conn
	return jetstream.Open(ctx, config)
}
