//go:build !(linux && (amd64 || arm64 || riscv64))

package measure

// stages are none where there is no kernel program to measure.
func stages() []stage { return nil }
