package store

// verify is Verify on any file system.
func verify(fs FS, dir string) (Report, error) { return verifyIn(fs, dir, func(int64) {}) }
