package corpus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// after does what the folder wants after a stage, and looks at what it expects then.
func (s *story) after(ctx context.Context, stage string) {
	s.t.Helper()
	for _, step := range s.folder.Step {
		if step.After == stage && s.there(step.On) {
			if err := s.step(ctx, step); err != nil {
				s.t.Fatalf("after %s: %v", stage, err)
			}
		}
	}
	for _, a := range s.folder.Assert {
		if a.after() == stage && s.there(a.On) {
			s.assert(ctx, a)
		}
	}
	for _, a := range s.folder.Files {
		if a.after() == stage && s.there(a.On) {
			s.assertFiles(a)
		}
	}
}

// there says whether a host is part of the story: that of a version that cannot copy a database has one host.
func (s *story) there(on string) bool {
	return on != "standby" && on != "h2" || s.pm.manages("h2") && s.pm.manages("h1")
}

// step is a deed of the administrator's.
func (s *story) step(ctx context.Context, step step) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, node := range s.nodes(step.On) {
		if step.There != "" {
			await(ctx, s.t, step.There+" on "+node, func() string { return s.lacks(node, step.There) })
		}
		if err := s.files(node, step); err != nil {
			return err
		}
		if err := errors.Join(s.statements(ctx, node, step), s.hold(ctx, node, step)); err != nil {
			return err
		}
		if step.Await == "complete" {
			s.awaitComplete(ctx, s.other())
		}
		switch step.Signal {
		case "":
		case "SIGHUP":
			if err := s.hosts[node].order(ctx, "Signal", int(syscall.SIGHUP), new(int)); err != nil {
				return err
			}
		default:
			return errors.New("no such signal: " + step.Signal)
		}
	}
	return nil
}

// lacks is why a file is not on a host, "" where it is.
func (s *story) lacks(node, path string) string {
	if _, err := os.Lstat(filepath.Join(s.hosts[node].boot.Dir, path)); err != nil {
		return err.Error()
	}
	return ""
}

// files changes files of a host; a new one belongs to postgres.
func (s *story) files(node string, step step) error {
	account, err := postgres()
	if err != nil {
		return err
	}
	for _, path := range step.Remove {
		if err := os.RemoveAll(filepath.Join(s.hosts[node].boot.Dir, path)); err != nil {
			return err
		}
	}
	for path, text := range step.Append {
		path = filepath.Join(s.hosts[node].boot.Dir, path)
		err := write(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, s.expand(text))
		if err = errors.Join(err, os.Chown(path, int(account.Uid), int(account.Gid))); err != nil {
			return err
		}
	}
	return nil
}

// hold lets sessions go on beside the story, or waits for their end: then nothing may have been promoted meanwhile.
func (s *story) hold(ctx context.Context, node string, step step) error {
	if step.Hold == "" {
		return nil
	}
	epoch := s.base.read().Epoch.Number
	var sessions sync.WaitGroup
	errs := make(chan error, max(1, step.Times))
	for range max(1, step.Times) {
		conn, err := s.connect(ctx, node)
		if err != nil && step.Times > 1 {
			break
		}
		if err != nil {
			return err
		}
		work := func() {
			defer conn.Close(context.Background())
			errs <- execute(s.life, conn, []string{s.expand(step.Hold)})
		}
		s.holding.Go(counted(&sessions, work))
	}
	if !step.Through {
		return nil
	}
	sessions.Wait()
	if now := s.base.read().Epoch.Number; now != epoch {
		s.t.Errorf("while sessions ran %q the epoch changed from %d to %d", step.Hold, epoch, now)
	}
	return <-errs
}

// counted is work that a second group waits for as well.
func counted(sessions *sync.WaitGroup, work func()) func() {
	sessions.Add(1)
	return func() { defer sessions.Done(); work() }
}

func (s *story) statements(ctx context.Context, node string, step step) error {
	sql := step.SQL
	if step.Reload {
		sql = append(slices.Clone(sql), "select pg_reload_conf()")
	}
	if len(sql) == 0 {
		return nil
	}
	conn, err := s.connect(ctx, node)
	if err != nil {
		return err
	}
	return errors.Join(execute(ctx, conn, sql), conn.Close(ctx))
}

// nodes are the hosts that on means.
func (s *story) nodes(on string) []string {
	switch on {
	case "", "primary":
		return []string{s.pm.primary()}
	case "standby":
		return []string{s.other()}
	case "both":
		return []string{"h1", "h2"}
	}
	return []string{on}
}

// assert waits for the value, because a standby is behind and a reload takes its time.
func (s *story) assert(ctx context.Context, a assertion) {
	s.t.Helper()
	want := s.expand(a.Want)
	got, err := s.ask(ctx, a)
	for end := time.Now().Add(10 * time.Second); (err != nil || got != want) && time.Now().Before(end); got, err = s.ask(ctx, a) {
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil || got != want {
		s.t.Errorf("after %s on %q: %s is %q, %v; want %q", a.after(), a.On, a.SQL, got, err, want)
	}
}

func (s *story) ask(ctx context.Context, a assertion) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := s.connect(ctx, a.On)
	if err != nil {
		return "", err
	}
	got, err := value(ctx, conn, s.expand(a.SQL))
	return got, errors.Join(err, conn.Close(ctx))
}

func (s *story) assertFiles(a fileAssertion) {
	s.t.Helper()
	for _, node := range s.nodes(a.On) {
		for _, path := range append(slices.Clone(a.Exist), a.Missing...) {
			_, err := os.Lstat(filepath.Join(s.hosts[node].boot.Dir, path))
			want := slices.Contains(a.Exist, path)
			if there := err == nil; there != want {
				s.t.Errorf("%s on %s: %v; is it to be there: %v", path, node, err, want)
			}
		}
	}
}

// watch collects what the supervisors show the administrator.
func (s *story) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for node, m := range s.hosts {
			st := m.state(instanceName)
			for _, w := range append(slices.Concat(st.Warnings, st.Advice), st.Detail, m.progress(instanceName).Detail) {
				s.warn(node, w)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *story) warn(node, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line := node + ": " + text; text != "" && !slices.Contains(s.warnings, line) {
		s.warnings = append(s.warnings, line)
	}
}

// judge looks for the words that the folder wants and forbids.
func (s *story) judge() {
	s.t.Helper()
	s.awaitWarnings()
	log := s.logs()
	for _, w := range s.folder.Words.Log {
		if !mentions(log, s.expand(w)) {
			s.t.Errorf("the log does not mention %q", w)
		}
	}
	for _, w := range s.folder.Words.Never {
		if mentions(log, s.expand(w)) || anyMentions(s.warnings, s.expand(w)) {
			s.t.Errorf("the log or a warning mentions %q", w)
		}
	}
	if refusals := s.pm.refusedSoFar(); len(refusals) > 0 {
		s.t.Errorf("Pacemaker was refused: %s", strings.Join(refusals, "; "))
	}
}

func (s *story) awaitWarnings() {
	s.t.Helper()
	await(s.t.Context(), s.t, "the warnings", func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range s.folder.Words.Warnings {
			if !anyMentions(s.warnings, s.expand(w)) {
				return w
			}
		}
		return ""
	})
}

func (s *story) logs() string {
	var all strings.Builder
	for _, node := range []string{"h1", "h2"} {
		text, err := os.ReadFile(s.hosts[node].logFile())
		if err == nil {
			all.Write(text)
		}
	}
	return all.String()
}

// report shows what happened where a story fails.
func (s *story) report() {
	if !s.t.Failed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("Pacemaker:\n%s\nwarnings:\n%s", strings.Join(s.said, "\n"), strings.Join(s.warnings, "\n"))
	for _, node := range []string{"h1", "h2"} {
		text, _ := os.ReadFile(s.hosts[node].logFile())
		if len(text) > reported {
			text = append([]byte("...\n"), text[len(text)-reported:]...)
		}
		s.t.Logf("log of %s:\n%s", node, text)
	}
}

// reported bounds the log of a host that failed.
const reported = 20000
