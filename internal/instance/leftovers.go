package instance

import (
	"fmt"
	"path/filepath"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/units"
)

// checkFiles refuses what stands in the data directory and would keep PostgreSQL from starting as it should.
func (a *Activation) checkFiles(arrival ha.Arrival) error {
	if err := a.checkConfiguration(); err != nil {
		return err
	}
	i := a.Instance
	// Where a promotion is recorded the database has served with the rules that are in the data directory.
	if arrival.Epoch.Number == 0 {
		if err := rulesElsewhere(ownersFiles{a.owner}, i.PGData, majorOf(i)); err != nil {
			return &Failure{ocf.ErrInstalled, err}
		}
	}
	for _, l := range pg.Leftovers(ownersFiles{a.owner}, i.PGData, majorOf(i)) {
		if l.Fatal {
			return &Failure{ocf.ErrInstalled, fmt.Errorf("%s %s", l.Path, l.Sentence)}
		}
	}
	return a.checkLabel(arrival)
}

// checkLabel refuses a primary's data of which nobody but the administrator can say whether they are a copy.
// With another primary to follow, the end of the backup comes from there.
func (a *Activation) checkLabel(arrival ha.Arrival) error {
	label, err := pg.ReadLabel(a.Instance.PGData)
	if err != nil || label == nil || arrival.Epoch.Number > 0 && arrival.Epoch.Node != a.Instance.Node {
		return err
	}
	control, err := pg.ReadControl(a.Instance.PGData)
	if err != nil || !label.Undecided(control, majorOf(a.Instance)) {
		return err
	}
	path := filepath.Join(a.Instance.PGData, "backup_label")
	return &Failure{ocf.ErrInstalled, fmt.Errorf("%s says that an exclusive backup began at %s and did not end: if this server crashed during the backup, mv %s %s.old; "+
		"if the data are a copy that the backup made, do not: recover them with PostgreSQL alone first (recovery.signal and restore_command)", path, label.Start, path, path)}
}

// FileAdvice is what an administrator should know of what stands in the data directory, or starts it
// besides pgtwin. PostgreSQL's user is uid and gid.
func FileAdvice(i config.Instance, uid, gid uint32) (advice []string) {
	files, major := ownersFiles{owner{uid, gid}}, majorOf(i)
	if err := rulesElsewhere(files, i.PGData, major); err != nil {
		advice = append(advice, err.Error())
	}
	for _, l := range pg.Leftovers(files, i.PGData, major) {
		advice = append(advice, l.Path+" "+l.Sentence)
	}
	for _, unit := range units.Starters("/", i.PGData) {
		advice = append(advice, fmt.Sprintf("%s is enabled and would start PostgreSQL on %s outside of pgtwin when the host boots: %s", unit.Name, i.PGData, unit.Disable))
	}
	return advice
}
