package sim

// shrink removes faults for as long as the run still breaks the same
// invariant, and shortens what is left.
func shrink(r Run, c core, broken string) Run {
	fails := func(faults []Fault) bool {
		v := simulate(Run{r.Config, r.Seed, faults}, c, false).Violation
		return v != nil && v.Invariant == broken
	}
	for size := len(r.Faults); size > 0; size /= 2 {
		for from := 0; from+size <= len(r.Faults); {
			fewer := append(append([]Fault{}, r.Faults[:from]...), r.Faults[from+size:]...)
			if fails(fewer) {
				r.Faults = fewer
			} else {
				from++
			}
		}
	}
	for i := range r.Faults {
		shorter := append([]Fault{}, r.Faults...)
		if shorter[i].For /= 2; fails(shorter) {
			r.Faults = shorter
		}
	}
	return r
}
