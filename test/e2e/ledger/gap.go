package ledger

import "time"

// Gap is a time without an acknowledged write.
type Gap struct{ From, To time.Time }

// Length is how long the gap lasted.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Longest returns the longest gap between from and to, given the times of the acknowledgements in order. A gap
// that has begun before from counts from its beginning; one that is open at to counts up to there.
func Longest(acks []time.Time, from, to time.Time) Gap {
	last := from
	var longest Gap
	for _, ack := range acks {
		switch {
		case !ack.After(from):
			last = ack
			continue
		case ack.After(to):
			ack = to
		}
		if ack.Sub(last) > longest.Length() {
			longest = Gap{last, ack}
		}
		last = ack
	}
	if to.Sub(last) > longest.Length() {
		longest = Gap{last, to}
	}
	return longest
}
