package ha

import "slices"

// ChangedScore is for a standby on which a collation sorts otherwise than the stored text is sorted: any
// complete host with the recorded version is promoted rather than this one, and this one rather than none. The
// distance is less than that of LaggingScore, because commits weigh more than the order of an index: a member
// of a quorum that has most is promoted first, whatever its collations.
const ChangedScore = EligibleScore - changedDistance

const changedDistance = 5

// scoreSorted sets the score of a standby that may be promoted, in consideration of its collations. What they
// are is asked after the start: while another complete host is there, the first score waits for that, so that
// of hosts that start together none is promoted unseen. A standby that has its score keeps it meanwhile.
func scoreSorted(f Facts, number int, why string) []Action {
	promotable := number == EligibleScore || number == LaggingScore
	switch {
	case promotable && f.CollationsChanged:
		number -= changedDistance
		why = "collations here sort otherwise than the stored text is sorted, a host with the recorded versions goes first; " + why
	case promotable && f.CollationsAwaited && f.Self.Score <= 0 && anotherComplete(f.Candidate):
		return nil
	}
	return score(f, number, why)
}

// anotherComplete says whether another member of the cluster is on record as complete.
func anotherComplete(c Candidate) bool {
	return slices.ContainsFunc(c.Peers, func(p Membership) bool {
		return p.Online && (p.InSync == c.Epoch.Number || p.Node == c.Epoch.Node)
	})
}
