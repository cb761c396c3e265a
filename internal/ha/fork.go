package ha

// Fork is where two histories part: the newest timeline that both went
// through, and the last position on it that both have. theirs has come to
// position on its own timeline. ok is false where they have nothing in common.
func Fork(ours, theirs History, position LSN) (at Switch, ok bool) {
	for _, tl := range ours.newestFirst() {
		left, common := theirs.LeftAt(tl)
		if !common {
			continue
		}
		if tl == theirs.Timeline {
			left = position
		}
		here, _ := ours.LeftAt(tl)
		return Switch{tl, min(left, here)}, true
	}
	return Switch{}, false
}

// Stretch is a piece of WAL on one timeline. To is the highest LSN where the
// end is not known.
type Stretch struct {
	Timeline Timeline
	From, To LSN
}

// Beyond is what a history went through after a point of its own, oldest
// first.
func (h History) Beyond(at Switch) []Stretch {
	var all []Stretch
	from, begun := at.At, false
	for _, p := range append(h.Parents[:len(h.Parents):len(h.Parents)], Switch{h.Timeline, ^LSN(0)}) {
		if begun = begun || p.Timeline == at.Timeline; begun {
			all = append(all, Stretch{p.Timeline, from, p.At})
			from = p.At
		}
	}
	return all
}

func (h History) newestFirst() []Timeline {
	all := []Timeline{h.Timeline}
	for i := len(h.Parents) - 1; i >= 0; i-- {
		all = append(all, h.Parents[i].Timeline)
	}
	return all
}

// feasible replaces a rewind of data on which pg_rewind would refuse to work.
func feasible(a Arrival, p Plan) Plan {
	if p.Course == Rewind && a.NoRewind != "" {
		return plan(Clone, "%s; %s", p.Why, a.NoRewind)
	}
	return p
}
