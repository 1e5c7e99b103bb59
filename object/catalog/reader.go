package catalog

import (
	"context"

	"carillon/object"
	"carillon/object/backend"
)

// Reader is the part of object.Store that a Catalog answers alone. Stores embed it.
type Reader[L any] struct {
	life    *backend.Life
	catalog *Catalog[L]
}

// NewReader reads a store's catalogue during the store's life.
func NewReader[L any](life *backend.Life, catalog *Catalog[L]) Reader[L] {
	return Reader[L]{life, catalog}
}

// Stat implements object.Store.
func (r Reader[L]) Stat(_ context.Context, name string) (object.Info, error) {
	if err := r.life.Begin(); err != nil {
		return object.Info{}, err
	}
	defer r.life.Done()
	newest, err := r.catalog.Find(name, object.Version{})
	if newest.Version.IsZero() {
		return object.Info{}, err
	}
	return newest.Info(name), err
}

// History implements object.Store.
func (r Reader[L]) History(_ context.Context, name string) ([]object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	if err := r.life.Begin(); err != nil {
		return nil, err
	}
	defer r.life.Done()
	return r.catalog.Versions(name).Infos(name), nil
}

// List implements object.Store.
func (r Reader[L]) List(_ context.Context, o object.List) (object.Page, error) {
	if err := r.life.Begin(); err != nil {
		return object.Page{}, err
	}
	defer r.life.Done()
	return r.catalog.List(o), nil
}
