package runtime

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenWithoutContainers(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for kind, names := range map[string][]string{"podman": {"podman"}, "docker": {"docker"}, "auto": {"podman", "docker"}} {
		_, err := Open(t.Context(), kind, Options{})
		if !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		for _, name := range names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v does not name %s", kind, err, name)
			}
		}
	}
}

func TestOpenAutoPrefersPodman(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	must(t, os.WriteFile(filepath.Join(dir, "dockerd"), nil, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "podman"), nil, 0o755))
	rt, err := Open(t.Context(), "auto", Options{})
	must(t, err)
	if rt.Name() != "podman" {
		t.Errorf("got %s", rt.Name())
	}
}

func TestOpenDockerThatDoesNotAnswerIsAnotherErrorThanNotInstalled(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "absent.sock"))
	_, err := Open(t.Context(), "docker", Options{})
	if err == nil || errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "docker.service") {
		t.Errorf("got %v", err)
	}
}

func TestOpenOfAnUnknownKind(t *testing.T) {
	if _, err := Open(t.Context(), "lxc", Options{}); err == nil || !strings.Contains(err.Error(), "lxc") {
		t.Errorf("got %v", err)
	}
}

func TestPullOnTheHostPointsToThePackages(t *testing.T) {
	_, err := Pull(t.Context(), newHost(Options{}), "postgres:17")
	if err == nil || !strings.Contains(err.Error(), "packages") {
		t.Errorf("got %v", err)
	}
}

// A pull's failure arrives in its progress, after status 200.
func TestPullWithDockerFailsWithItsProgress(t *testing.T) {
	rt := dockerThatAnswers(t, `{"status":"Pulling"}`+"\n"+`{"errorDetail":{"message":"no space left on device"},"error":"x"}`)
	_, err := Pull(t.Context(), rt, "registry.example/postgres:17")
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "registry.example/postgres:17") {
		t.Errorf("got %v", err)
	}
}

// dockerThatAnswers opens docker with a daemon that answers everything so.
func dockerThatAnswers(t *testing.T, body string) Runtime {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.43")
		w.Write([]byte(body))
	})}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-served })
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	rt, err := Open(t.Context(), "docker", Options{})
	must(t, err)
	t.Cleanup(func() { rt.Close() })
	return rt
}
