package sim

import (
	"math/rand/v2"
	"time"
)

// The schedules that aim at one moment.

// atTheMomentOfALoss cuts the cluster's link about when a standby that does not
// stream any more is recorded as behind.
func atTheMomentOfALoss(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	at := 4500*ms + time.Duration(rng.Int64N(int64(3*time.Second)))
	return []Fault{
		{time.Second, CutReplication, 0, 40 * time.Second},
		{at.Round(ms), CutCluster, rng.IntN(cfg.Hosts), 30 * time.Second},
	}
}

// duringAMove cuts the cluster's link while the other host is to be promoted.
func duringAMove(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	at := 2*time.Second + time.Duration(rng.Int64N(int64(2*time.Second)))
	return []Fault{
		{2 * time.Second, Move, rng.IntN(cfg.Hosts), 20 * time.Second},
		{at.Round(ms), CutBoth, rng.IntN(cfg.Hosts), 15 * time.Second},
	}
}

// oneAfterTheOther cuts off one host, and another when the first is about to be
// fenced.
func oneAfterTheOther(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	first := rng.IntN(cfg.Hosts)
	at := 2*time.Second + time.Duration(rng.Int64N(int64(8*time.Second)))
	return []Fault{
		{time.Second, CutBoth, first, 30 * time.Second},
		{at.Round(ms), CutBoth, (first + 1 + rng.IntN(cfg.Hosts-1)) % cfg.Hosts, 50 * time.Second},
	}
}

// withoutAView cuts the cluster's link about when a lost standby is recorded as
// behind, and lets Pacemaker's tools hang from then on.
func withoutAView(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	cut := 5500*ms + time.Duration(rng.Int64N(int64(2*time.Second)))
	hang := 7*time.Second + time.Duration(rng.Int64N(int64(2*time.Second)))
	return []Fault{
		{time.Second, CutReplication, 0, time.Minute},
		{2 * time.Second, BreakFencing, 0, 24 * time.Second},
		{cut.Round(ms), CutCluster, 0, 40 * time.Second},
		{hang.Round(ms), MutePacemaker, rng.IntN(cfg.Hosts), 20 * time.Second},
	}
}

// afterAFailedMove adds a loss of power, before the other host's copy of the
// records has been replaced.
func afterAFailedMove(cfg Config, seed uint64) []Fault {
	faults := duringAMove(cfg, seed)
	faults[1].For = time.Minute
	return append(faults, Fault{20 * time.Second, PowerOffAll, 0, 30 * time.Second})
}

// duringAPromotion kills the supervisor of the host that is to be promoted.
func duringAPromotion(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	to := rng.IntN(cfg.Hosts)
	at := 2*time.Second + time.Duration(rng.Int64N(int64(3*time.Second)))
	return []Fault{{2 * time.Second, Move, to, 20 * time.Second}, {at.Round(ms), KillSupervisor, to, 0}}
}

// theLastButOneLeaves shuts a host down in good order while another is off: who
// is left is promoted and loses its quorum in the same moment. Then they come
// back, and the one that was promoted does not.
func theLastButOneLeaves(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	off := rng.IntN(cfg.Hosts)
	leaves := (off + 1 + rng.IntN(cfg.Hosts-1)) % cfg.Hosts
	at := 14*time.Second + time.Duration(rng.Int64N(int64(6*time.Second)))
	return []Fault{
		{time.Second, PowerOff, off, 40 * time.Second},
		{at.Round(ms), Reboot, leaves, 0},
		{at.Round(ms) + 14*time.Second, Freeze, 3 - off - leaves, time.Minute},
	}
}

// oneOfAQuorumLags keeps one host's replication off for a moment, and then takes the
// power from another, most likely the primary.
func oneOfAQuorumLags(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	lost := rng.IntN(cfg.Hosts)
	at := 2*time.Second + time.Duration(rng.Int64N(int64(8*time.Second)))
	return []Fault{
		{time.Second, CutReplication, (lost + 1 + rng.IntN(cfg.Hosts-1)) % cfg.Hosts, 12 * time.Second},
		{at.Round(ms), PowerOff, lost, 30 * time.Second},
		{(at + 9*time.Second).Round(ms), PowerOff, rng.IntN(cfg.Hosts), 30 * time.Second},
	}
}

// afterAnOutage lets one host lag, takes the power from all, and one is late to
// come back.
func afterAnOutage(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	at := 2*time.Second + time.Duration(rng.Int64N(int64(4*time.Second)))
	return []Fault{
		{time.Second, CutReplication, rng.IntN(cfg.Hosts), 10 * time.Second},
		{at.Round(ms), PowerOffAll, 0, 5 * time.Second},
		{(at + 100*ms).Round(ms), PowerOff, rng.IntN(cfg.Hosts), 60 * time.Second},
		{(at + time.Second).Round(ms), SlowDisk, rng.IntN(cfg.Hosts), 60 * time.Second},
	}
}

// lagsTwice lets a host lag, catch up, lag again, and takes the power from one of
// the two that replicate.
func lagsTwice(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	lags := rng.IntN(cfg.Hosts)
	at := 12*time.Second + time.Duration(rng.Int64N(int64(4*time.Second)))
	return []Fault{
		{time.Second, CutNeighbour, lags, 5500 * ms},
		{12 * time.Second, CutNeighbour, lags, 10 * time.Second},
		{at.Round(ms), PowerOff, (lags + rng.IntN(2)) % cfg.Hosts, 40 * time.Second},
	}
}

// whenOneReturns cuts the cluster's link about when a standby that was lost is back
// on record, while another is slow.
func whenOneReturns(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	at := 13*time.Second + time.Duration(rng.Int64N(int64(3*time.Second)))
	return []Fault{
		{time.Second, CutReplication, rng.IntN(cfg.Hosts), 12 * time.Second},
		{at.Round(ms), CutCluster, rng.IntN(cfg.Hosts), 30 * time.Second},
		{(at + 200*ms).Round(ms), SlowDisk, rng.IntN(cfg.Hosts), 30 * time.Second},
	}
}

// split cuts the hosts off from each other.
func split(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 3))
	length := 8*time.Second + time.Duration(rng.Int64N(int64(20*time.Second)))
	return []Fault{{time.Second, CutBoth, 0, length.Round(ms)}, {4 * time.Second, KillServer, rng.IntN(cfg.Hosts), 0}}
}
