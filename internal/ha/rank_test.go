package ha

import "testing"

func TestRanks(t *testing.T) {
	tests := map[string]struct {
		rank func(int) int
		from int
		want int
	}{
		"the first promotion":                        {PromotionRank, 0, 1000},
		"a promotion outranks the records before it": {PromotionRank, 1507, 2000},
		"a promotion outranks one that failed":       {PromotionRank, 2000, 3000},
		"known, it outranks one of the same number":  {KnownRank, 2000, 2500},
		"known twice":                                     {KnownRank, 2500, 2501},
		"a record outranks the last one":                  {RecordRank, 2500, 2501},
		"records stay below the next promotion":           {RecordRank, 2999, 2999},
		"records of a promotion that failed stay below":   {RecordRank, 2499, 2499},
		"a promotion after all ranks of a band were used": {PromotionRank, 2999, 3000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.rank(tt.from); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
