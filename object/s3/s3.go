// Package s3 keeps objects in a bucket of any service that speaks S3. In come the calls of object/bucket, which
// makes an object.Store of them; out go requests, each of which the service answers
// when what it did is durable. Whoever opens a store by its URL calls it.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"carillon/object"
	"carillon/object/bucket"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Config is of a store.
type Config struct {
	Endpoint    string // host, or host:port
	Plain       bool   // HTTP without TLS
	Region      string // empty: asked of the service
	Bucket      string // made if it is not there
	Prefix      string // of all keys; a bucket may be shared under different ones
	Credentials *credentials.Credentials
	Transport   http.RoundTripper // nil for the usual one
	Keep        int               // versions of a name
	Spool       string            // folder for bodies too large for memory; empty for the system's
	Logger      *slog.Logger
}

// Open connects to a service, and reads the keys that are there.
func Open(ctx context.Context, config Config) (object.Store, error) {
	client, err := minio.NewCore(config.Endpoint, &minio.Options{
		Creds: config.Credentials, Secure: !config.Plain, Region: config.Region, Transport: config.Transport,
	})
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket %s at %s: %w", config.Bucket, config.Endpoint, err)
	}
	s := &service{client: client, bucket: config.Bucket, prefix: config.Prefix}
	if s.prefix != "" && !strings.HasSuffix(s.prefix, "/") {
		s.prefix += "/"
	}
	if err := s.make(ctx, config.Region); err != nil {
		return nil, fmt.Errorf("open s3 bucket %s at %s: %w", config.Bucket, config.Endpoint, err)
	}
	store, err := bucket.Open(ctx, bucket.Config{Service: s, Keep: config.Keep, Spool: config.Spool, Logger: config.Logger})
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket %s at %s: %w", config.Bucket, config.Endpoint, err)
	}
	return store, nil
}

// service is a bucket.Service.
type service struct {
	client *minio.Core
	bucket string
	prefix string
}

func (s *service) make(ctx context.Context, region string) error {
	there, err := s.client.BucketExists(ctx, s.bucket)
	if err != nil || there {
		return err
	}
	return s.client.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: region})
}

// Each implements bucket.Service.
func (s *service) Each(ctx context.Context, yield func(key string) error) error {
	for one := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if one.Err != nil {
			return one.Err
		}
		if err := yield(strings.TrimPrefix(one.Key, s.prefix)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Put implements bucket.Service.
func (s *service) Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := s.client.Client.PutObject(ctx, s.bucket, s.prefix+key, body, size, minio.PutObjectOptions{ContentType: "application/octet-stream"})
	return err
}

// Get implements bucket.Service.
func (s *service) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if length == 0 { // which a range cannot say
		return http.NoBody, nil
	}
	var o minio.GetObjectOptions
	if err := o.SetRange(offset, offset+length-1); err != nil {
		return nil, err
	}
	body, _, _, err := s.client.GetObject(ctx, s.bucket, s.prefix+key, o)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil, errors.Join(os.ErrNotExist, err)
	}
	return body, err
}

// Remove implements bucket.Service.
func (s *service) Remove(ctx context.Context, key string) error {
	return s.client.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
}

// Close implements bucket.Service: there is no connection that lasts.
func (s *service) Close() error { return nil }
