package exporter

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"pgtwin/internal/control"
)

// fresh is the age up to which the supervisor's word is taken: it looks at
// PostgreSQL at least every second.
const fresh = 5 * time.Second

// source is the status file.
type source struct {
	path string
	now  func() time.Time
}

// reading is what the file said. Where err is set, the state is not to be
// relied on and err says why.
type reading struct {
	state control.State
	age   time.Duration // negative where the clock has been set back
	found bool
	err   error
}

func (s source) read() reading {
	var r reading
	err := control.ReadJSON(s.path, &r.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.err = errors.New("there is no status: the supervisor has not run since the boot")
		return r
	case err != nil:
		r.err = err
		return r
	}
	r.found, r.age = true, s.now().Sub(r.state.Updated)
	if r.age.Abs() >= fresh {
		r.err = fmt.Errorf("the status is %s old: the supervisor does not run or hangs", r.age.Round(time.Second))
	}
	return r
}
