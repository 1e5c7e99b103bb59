package s3

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"carillon/object"
	"carillon/object/conformance"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// serve runs an S3 service in memory and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	fake := gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog()))
	server := httptest.NewServer(fake.Server())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Open {
		endpoint := serve(t)
		return func(t *testing.T) object.Store {
			s, err := Open(t.Context(), Config{
				Endpoint: endpoint, Plain: true, Region: "test", Bucket: "objects", Prefix: "a/b",
				Credentials: credentials.NewStaticV4("id", "secret", ""),
				Keep:        conformance.Keep, Spool: t.TempDir(), Logger: quiet(),
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
