package exporter

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleCountsFromTheEndOfTheLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var ended time.Duration
		i := newIdle(time.Minute, func() { ended = time.Since(start) })
		slow := i.watch(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Minute) }))
		quick := i.watch(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

		time.Sleep(30 * time.Second)
		go ask(slow, "GET", "/")
		time.Sleep(time.Minute)
		ask(quick, "GET", "/") // ends while the slow one is in flight
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := 30*time.Second + 5*time.Minute + time.Minute; ended != want {
			t.Errorf("ended after %s, want %s", ended, want)
		}
	})
}

func TestIdleNeverEndsWithoutALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIdle(0, func() { t.Error("ended") })
		ask(i.watch(http.NotFoundHandler()), "GET", "/")
		time.Sleep(24 * time.Hour)
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func client(l net.Listener) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
		},
	}}
}

func TestServeAnswersOnEverySocketAndEndsWhenIdle(t *testing.T) {
	one, two := listen(t), listen(t)
	served := make(chan error, 1)
	go func() {
		served <- serve(t.Context(), []net.Listener{one, two}, serving(t, onPrimary()), 300*time.Millisecond)
	}()
	for _, l := range []net.Listener{one, two} {
		answer, err := client(l).Get("http://host/primary")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Errorf("%s: %s", l.Addr(), answer.Status)
		}
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	l := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stop()
		<-ctx.Done()
		w.WriteHeader(http.StatusTeapot)
	})
	served := make(chan error, 1)
	go func() { served <- serve(ctx, []net.Listener{l}, slow, time.Hour) }()
	answer, err := client(l).Get("http://host/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusTeapot {
		t.Error(answer.Status)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServeFailsWithASocketItCannotAcceptOn(t *testing.T) {
	l := listen(t)
	l.Close()
	if err := serve(t.Context(), []net.Listener{l}, http.NotFoundHandler(), time.Hour); err == nil {
		t.Error("no error")
	}
}

func TestCommandNeedsASocketFromSystemd(t *testing.T) {
	t.Setenv("LISTEN_FDS", "")
	for _, name := range []string{"postgres-ha", "../../etc"} {
		cmd := Command()
		cmd.SetArgs([]string{name})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
