package node

import (
	"context"
	"strings"
	"testing"

	"carillon/object"
	"carillon/object/replica"
)

// displacing is a node on which another version takes a version's place whenever its content is asked for.
type displacing struct{ replica.Node }

func (displacing) Get(context.Context, string, object.Get) (object.Body, error) {
	return nil, object.ErrNotFound
}

// TestLastBytesOfWhatIsOverwritten: a range from the end needs the size first. If the version is displaced before its content is
// asked for, the name is there nevertheless.
func TestLastBytesOfWhatIsOverwritten(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	want(t, 204, "", "PUT", p.url+"/objects/x", strings.NewReader("content"))
	p.cluster.Close()
	var err error
	p.cluster, err = replica.New(replica.Config{
		Node: func(string) (replica.Node, error) { return displacing{p.member}, nil }, Clock: newClock(),
	}, viewOf(t, []string{"a"}))
	if err != nil {
		t.Fatal(err)
	}
	want(t, 503, "too_few", "GET", p.url+"/objects/x?read=newest", nil, "Range", "bytes=-5")
	want(t, 404, "not_found", "GET", p.url+"/objects/x?read=newest&version="+newClock().Now().String(), nil)
}
