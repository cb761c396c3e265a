package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/runtime"
)

// mortal is a container service that ends under some questions, and then does not have the image.
type mortal struct {
	programs
	deaths, asked int
}

func (m *mortal) Close() error { return nil }

func (m *mortal) Image(context.Context, string) (runtime.Image, error) {
	if m.asked++; m.asked <= m.deaths {
		return runtime.Image{}, fmt.Errorf("cannot inspect the image: %w", runtime.ErrInterrupted)
	}
	return runtime.Image{}, runtime.ErrImageMissing
}

func TestAnActivationOutlivesTheContainerService(t *testing.T) {
	tests := []struct {
		name   string
		deaths int
		asked  int
		want   error
	}{
		{"that lives", 0, 1, runtime.ErrImageMissing},
		{"that ends as often as it may", attempts - 1, attempts, runtime.ErrImageMissing},
		{"that ends always", attempts, attempts, runtime.ErrInterrupted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, dir := newName(t), t.TempDir()
			boot, err := BootID()
			must(t, err)
			must(t, control.WriteJSON(config.Ticket(name), control.Ticket{BootID: boot, Intent: control.IntentRun}, 0o600))
			passFile := filepath.Join(dir, "pgpass")
			must(t, os.WriteFile(passFile, []byte("*:*:replication:replicator:secret\n"), 0o600))
			i := config.Instance{Name: name, Node: "h1", User: "postgres", PGData: filepath.Join(dir, "data"), PassFile: passFile, ContainerMode: true}
			a, service := New(i, nil, slog.New(slog.DiscardHandler)), &mortal{deaths: tt.deaths}
			a.open = func(context.Context, config.Instance, *slog.Logger) (runtime.Runtime, error) { return service, nil }
			if err := a.Run(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if service.asked != tt.asked {
				t.Errorf("it was asked %d times, want %d", service.asked, tt.asked)
			}
		})
	}
}
