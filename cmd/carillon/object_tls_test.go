package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/object/conformance"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string // its own certificate
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(dir, name+".pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := a.sign(t, template)
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// sign makes a key and a certificate of it; the first one is the authority's own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) []byte {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	if signer != key {
		a.key = signer
		text, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, a.keyFile(), "PRIVATE KEY", text)
	}
	return der
}

func (a *authority) keyFile() string { return strings.TrimSuffix(a.file, ".pem") + "-node.key" }

// node makes what a node needs to be known by 127.0.0.1.
func (a *authority) node(t *testing.T) (certificate, key string) {
	t.Helper()
	certificate = strings.TrimSuffix(a.file, ".pem") + "-node.pem"
	writePEM(t, certificate, "CERTIFICATE", a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
	return certificate, a.keyFile()
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestObjectTLS runs a cluster with certificates and a token, and asks it rightly and wrongly.
func TestObjectTLS(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	certificate, key := ours.node(t)
	serve := []string{"--tls-cert", certificate, "--tls-key", key, "--ca", ours.file}
	nodes := objectCluster(t, dir, serve...)
	file := filepath.Join(dir, "file")
	content := conformance.Content(3<<20, 1)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	objectShell(t, nodes, "put", "direct", file)
	objectShell(t, nodes, "put", "relayed", file, "--server-copies")
	for _, name := range []string{"direct", "relayed"} {
		if out := objectShell(t, nodes, "get", name); out != string(content) {
			t.Errorf("%s: %d bytes came back", name, len(out))
		}
	}
	eventually(t, "three copies", func() error { return objectVerb(nodes, "verify").Run() })
	if out := objectShell(t, nodes, "ls"); !strings.Contains(out, "direct") || !strings.Contains(out, "relayed") {
		t.Error(out)
	}
	if out := objectShell(t, nodes, "nodes"); strings.Count(out, "member") != 3 || !strings.Contains(out, "https://") {
		t.Error(out)
	}
	objectFails(t, []*objectNode{{url: nodes[0].url}}, "unknown authority", "ls")
	objectFails(t, nodes, "unknown authority", "get", "direct", "--ca", theirs.file)
	objectFails(t, nodes, "no certificate in PEM", "ls", "--ca", file)
	objectFails(t, nodes, "no such file", "ls", "--ca", filepath.Join(dir, "none"))
	plain := []*objectNode{{url: strings.Replace(nodes[0].url, "https", "http", 1)}}
	objectFails(t, plain, "HTTP request to an HTTPS server", "ls")
	t.Setenv(tokenVariable, "")
	objectFails(t, nodes, "no token, or a wrong one", "ls")
	t.Setenv(tokenVariable, "guessed")
	objectFails(t, nodes, "no token, or a wrong one", "put", "x", file)
	t.Setenv(tokenVariable, "secret")
	http2OverTLS(t, nodes[2], ours, content)
}

// http2OverTLS asks a node as a program that trusts the authority and takes what ALPN offers.
func http2OverTLS(t *testing.T, n *objectNode, ca *authority, content []byte) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	for _, protocol := range []struct {
		offered []string
		major   int
	}{{[]string{"h2", "http/1.1"}, 2}, {[]string{"http/1.1"}, 1}} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, NextProtos: protocol.offered}, ForceAttemptHTTP2: protocol.major == 2,
		}}
		defer client.CloseIdleConnections()
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			r, err := http.NewRequestWithContext(t.Context(), method, n.url+"/objects/program", bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer secret")
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode/100 != 2 || response.ProtoMajor != protocol.major || method == http.MethodGet && !bytes.Equal(got, content) {
				t.Errorf("%s by %v: %s %s, %d bytes, %v", method, protocol.offered, response.Proto, response.Status, len(got), err)
			}
		}
	}
}

// TestObjectServeRefusesBadTLS before it listens.
func TestObjectServeRefusesBadTLS(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	certificate, key := ours.node(t)
	_, other := theirs.node(t)
	for want, args := range map[string][]string{
		"--tls-cert and --tls-key": {"--tls-cert", certificate},
		"does not match":           {"--tls-cert", certificate, "--tls-key", other},
		"no such file":             {"--tls-cert", filepath.Join(dir, "none"), "--tls-key", key},
		"--ca: ":                   {"--ca", key},
	} {
		args = append([]string{"object", "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"}, args...)
		if out, err := carillonContext(t.Context(), args...).CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v, want %q in\n%s", args, err, want, out)
		}
	}
}
