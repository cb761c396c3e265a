package ha

// The rank of a copy of the records: where hosts meet that lost sight of each
// other, the copy of the highest rank becomes everybody's. In Pacemaker it is
// the information base's admin_epoch, which is compared before the number of
// changes and which nothing but a record of ours raises: what an operator
// configures on a host that is cut off does not outvote a promotion elsewhere.
// A change of a lower rank than the copy it comes to is refused, so a record
// that was given up cannot undo a later one.
//
// A promotion begins a new band of ranks, above all that a primary which is cut
// off may still record, and goes to its upper half once every member knows of
// it: of two promotions recorded on two sides of a split only the one that takes
// effect gets there. The databases of one cluster share the ranks.
const (
	bandOfPromotion = 1000
	bandOfRecords   = 500
)

// PromotionRank is the rank at which a promotion is recorded over records of
// rank current.
func PromotionRank(current int) int { return (current/bandOfPromotion + 1) * bandOfPromotion }

// KnownRank is the rank of a promotion of rank current that every member knows
// of.
func KnownRank(current int) int {
	return max(current/bandOfPromotion*bandOfPromotion+bandOfRecords, RecordRank(current))
}

// OldRank is a rank that no record of an earlier supervisor of this host has
// reached, begun over records of rank current and perhaps still on its way: it
// gives up after seconds, and is restarted for a failure of its own.
func OldRank(current int) int {
	for range 10 {
		current = RecordRank(current)
	}
	return current
}

// RecordRank is the rank of any other record, over records of rank current. A
// band that is used up keeps its last rank.
func RecordRank(current int) int {
	if (current+1)%bandOfRecords == 0 {
		return current
	}
	return current + 1
}
