package exporter

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// Handler answers from the status file at path, which it reads for every
// request. The paths, their meaning and their codes are those of Patroni's REST
// API, so that what is set up for Patroni can ask pgtwin; /status has what the
// supervisor knows in pgtwin's own words (control.State).
func Handler(path string) http.Handler { return handler(source{path, time.Now}) }

func handler(s source) http.Handler {
	mux := http.NewServeMux()
	for path, c := range checks() {
		mux.Handle(path, readOnly(s.answer(c)))
	}
	mux.Handle("/patroni", readOnly(s.describe))
	mux.Handle("/status", readOnly(s.status))
	mux.Handle("/metrics", readOnly(metrics(s).ServeHTTP))
	return mux
}

// check says whether the answer is 200. maxLag is how many bytes a standby may
// be behind.
type check func(st control.State, maxLag int64) bool

func checks() map[string]check {
	return map[string]check{
		"/{$}":          primary,
		"/primary":      primary,
		"/master":       primary,
		"/leader":       primary,
		"/read-write":   primary,
		"/replica":      replica,
		"/read-only":    either,
		"/sync":         inSync,
		"/synchronous":  inSync,
		"/async":        notInSync,
		"/asynchronous": notInSync,
		"/health":       func(st control.State, _ int64) bool { return running(st) },
		"/readiness":    either,
		"/liveness":     func(control.State, int64) bool { return true }, // that the supervisor has reported is enough
	}
}

// primary does not take an instance for the primary after the cluster has
// recorded the promotion of another: that one is about to be fenced or stopped,
// and whatever is written to it is lost.
func primary(st control.State, _ int64) bool {
	replaced := st.Epoch != nil && st.Epoch.Node != st.Node
	return st.Role == ha.Primary && !replaced
}

func replica(st control.State, maxLag int64) bool {
	return st.Role == ha.Standby && st.Receiving && st.LagBytes <= maxLag
}

func either(st control.State, maxLag int64) bool { return primary(st, maxLag) || replica(st, maxLag) }

func inSync(st control.State, maxLag int64) bool { return replica(st, maxLag) && st.InSync }

func notInSync(st control.State, maxLag int64) bool { return replica(st, maxLag) && !st.InSync }

func running(st control.State) bool { return st.Role == ha.Primary || st.Role == ha.Standby }

// readOnly lets through the methods that health checks use. To HEAD, net/http
// sends no body by itself.
func readOnly(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			next(w, r)
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
}

func (s source) answer(c check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		maxLag, err := parseLag(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		got := s.read()
		reply(w, r, codeOf(got.err == nil && c(got.state, maxLag)), describe(got))
	}
}

// describe is the body of every check, with 200 whatever it says.
func (s source) describe(w http.ResponseWriter, r *http.Request) {
	reply(w, r, http.StatusOK, describe(s.read()))
}

func (s source) status(w http.ResponseWriter, r *http.Request) {
	got := s.read()
	if !got.found {
		reply(w, r, http.StatusServiceUnavailable, describe(got))
		return
	}
	reply(w, r, codeOf(got.err == nil), got.state)
}

func codeOf(ok bool) int {
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func reply(w http.ResponseWriter, r *http.Request, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if r.Method != http.MethodOptions {
		_ = json.NewEncoder(w).Encode(body) // fails when the caller has gone
	}
}

// parseLag reads lag=1048576 or lag=1MB; without it there is no limit. What it
// cannot read it refuses: a limit that is silently none would send readers to a
// standby that is hours behind.
func parseLag(query url.Values) (int64, error) {
	text := query.Get("lag")
	if text == "" {
		return math.MaxInt64, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	var size config.Size
	if err := size.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("lag: %w", err)
	}
	return int64(size), nil
}
