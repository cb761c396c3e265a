package sim

import "pgtwin/internal/ha"

// core is the code under test. The functions are those of package ha; a
// mutation replaces one of them. The switches break the order of steps that the
// supervisor keeps around them.
type core struct {
	decide     func(ha.Facts) []ha.Action
	promotable func(ha.Candidate) ha.Verdict
	next       func(ha.Candidate, ha.Mode) ha.Promotion
	check      func(ha.Action, ha.Candidate) error
	rejoin     func(ha.Arrival) ha.Plan
	ahead      func(ha.Candidate) string

	recordLate  bool // the promotion is recorded after it took effect
	recordNever bool
	noMarkers   bool // PostgreSQL chooses the timeline
	unmarked    bool // a rewind leaves no marker
	unspread    bool // the other hosts need not know of a promotion
	unranked    bool // a record outvotes nothing
	few         bool // a promotion may be known to so few that others have a quorum without it
	unknown     bool // a promotion is not recorded again when everybody knows of it
	unread      bool // a standby that has not read all of its WAL yet is taken at its word
	unasked     bool // the positions of the others are asked for once and for all
	blind       bool // commits stop waiting without another look at the cluster
	unproven    bool // who is shown as required is taken for waited for
}

func realCore() core {
	return core{
		decide: ha.Decide, promotable: ha.Promotable, next: ha.NextPromotion,
		check: ha.CheckPublish, rejoin: ha.Rejoin, ahead: ha.Ahead,
	}
}
