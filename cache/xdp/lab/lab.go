// Package lab is the other end of the wire for package xdp: it makes two network
// namespaces joined by a pair of interfaces, drives requests through them from inside
// the kernel, counts the replies there, and measures a program by test runs. Requests
// come in as frames, rates and times come out. Tests and the cache's benchmark use it.
package lab

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package lab kernel kernel/lab.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
