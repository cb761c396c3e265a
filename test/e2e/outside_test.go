//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// seenFromOutside asks as load balancers, monitoring and people do.
func seenFromOutside(s *scene) {
	primary, standby := s.hosts()
	s.tell(
		step("a load balancer finds the primary and the standby", func(ctx context.Context) error {
			return errors.Join(
				answers(ctx, primary, "/primary", http.StatusOK),
				answers(ctx, primary, "/replica", http.StatusServiceUnavailable),
				answers(ctx, primary, "/health", http.StatusOK),
				answers(ctx, standby, "/primary", http.StatusServiceUnavailable),
				answers(ctx, standby, "/replica", http.StatusOK),
				answers(ctx, standby, "/health", http.StatusOK))
		}),
		step("the same is said on the socket, where nothing was configured", func(ctx context.Context) error {
			return errors.Join(
				answersOnSocket(ctx, primary, "/primary", http.StatusOK),
				answersOnSocket(ctx, standby, "/primary", http.StatusServiceUnavailable),
				answersOnSocket(ctx, standby, "/replica", http.StatusOK))
		}),
		step("Prometheus finds metrics", func(ctx context.Context) error {
			_, text, err := get(ctx, primary, "/metrics")
			if err != nil {
				return err
			}
			return mention("/metrics", text, "# TYPE pgtwin_")
		}),
	)
	for _, h := range s.c.Hosts() {
		s.tell(step("pgtwin status on "+h.Name()+" shows both hosts", func(ctx context.Context) error {
			text, err := h.Run(ctx, "pgtwin", "status")
			if err != nil {
				return err
			}
			return mention("pgtwin status", text, primary.Name(), standby.Name(), "primary", "standby", lab.VirtualIP)
		}), step("pgtwin status on "+h.Name()+" speaks JSON", func(ctx context.Context) error {
			text, err := h.Run(ctx, "pgtwin", "status", "--output", "json")
			if err != nil {
				return err
			}
			if !json.Valid([]byte(text)) {
				return fmt.Errorf("this is not JSON:\n%s", text)
			}
			return mention("pgtwin status", text, primary.Name(), standby.Name())
		}))
	}
}

func answers(ctx context.Context, h *lab.Host, path string, want int) error {
	got, text, err := get(ctx, h, path)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s on %s answers %d, want %d: %s", path, h.Name(), got, want, text)
	}
	return nil
}

func answersOnSocket(ctx context.Context, h *lab.Host, path string, want int) error {
	code, text, err := ask(ctx, "http://localhost"+path, &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.Dial(ctx, "/run/pgtwin-status/"+cluster.Instance+".sock")
		},
	})
	if err == nil && code != want {
		err = fmt.Errorf("%s on %s answers %d on its socket, want %d: %s", path, h.Name(), code, want, text)
	}
	return err
}

// get asks the status service of a host over TCP, where pgtwin.toml has switched that on. No proxy and no connection that is
// kept: the hosts are on this machine's own bridge and come and go.
func get(ctx context.Context, h *lab.Host, path string) (code int, text string, err error) {
	return ask(ctx, fmt.Sprintf("http://%s:%d%s", h.Addr(), cluster.HTTPPort, path), &http.Transport{DisableKeepAlives: true})
}

func ask(ctx context.Context, url string, transport *http.Transport) (code int, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
