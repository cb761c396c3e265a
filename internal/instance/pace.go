package instance

import "time"

// pace is how fast work has gone of late.
type pace struct{ marks []mark }

type mark struct {
	at   time.Time
	done int64
}

// paceWindow is long enough to ride out a checkpoint of the source, and short
// enough to show that a link has become slow.
const paceWindow = 15 * time.Second

// rate is how many bytes a second have been done, 0 while that is not known.
func (p *pace) rate(done int64, now time.Time) int64 {
	if n := len(p.marks); n > 0 && done < p.marks[n-1].done {
		p.marks = nil // another file, another beginning
	}
	p.marks = append(p.marks, mark{now, done})
	for len(p.marks) > 2 && now.Sub(p.marks[1].at) >= paceWindow {
		p.marks = p.marks[1:]
	}
	took := now.Sub(p.marks[0].at)
	if took < time.Second {
		return 0
	}
	return int64(float64(done-p.marks[0].done) / took.Seconds())
}
