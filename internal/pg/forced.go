package pg

import (
	"slices"
	"strings"
)

// recoverySettings take out of force what could end recovery before all WAL is replayed, or hold it up,
// wherever an administrator, or a restore of years ago, has left it. Every server of pgtwin's starts as
// a standby, so that all of these would be live at every start and at every promotion.
//
// Others stay the administrator's: restore_command and archive_cleanup_command serve the archive and
// end nothing, recovery_init_sync_method and recovery_prefetch are about speed, and who sets
// ignore_invalid_pages does it to save what is left of a damaged database.
func recoverySettings(major int) []setting {
	const target = "A recovery target would stop replay before what was acknowledged."
	all := []setting{
		{"recovery_target", "", target},
		{"recovery_target_action", "pause", target},
		{"recovery_target_inclusive", "on", target},
		{"recovery_target_lsn", "", target},
		{"recovery_target_name", "", target},
		{"recovery_target_time", "", target},
		{"recovery_target_xid", "", target},
		{"recovery_target_timeline", "latest", "A standby follows its primary through promotions."},
		{"recovery_min_apply_delay", "0", "A delayed standby could take over only after it has replayed all that was held back."},
		{"recovery_end_command", "", "A promotion would wait for this command, and end if a signal ended it."},
	}
	if major < firstWithoutTrigger {
		all = append(all, setting{"promote_trigger_file", "", "Pacemaker promotes, and no file does."})
	}
	return all
}

// firstWithoutTrigger is the first major version without promote_trigger_file.
const firstWithoutTrigger = 16

// diskSettings keep what is acknowledged through a crash.
func diskSettings() []setting {
	return []setting{
		{"fsync", "on", "Without it a crash loses commits that were acknowledged, and may damage the database."},
		{"data_sync_retry", "off", "With it a failed write is tried again and taken for good, although the system may have dropped the data."},
		{"full_page_writes", "on", "Without it a crash damages pages that were being written, and pg_rewind refuses to work."},
	}
}

// commitSettings are for commits that wait for standbys.
func commitSettings(value string) []setting {
	if value == "" {
		return nil
	}
	return []setting{{"synchronous_commit", value,
		"A commit is acknowledged when the standbys have it. A session may ask for less for itself, and remote_apply in your file stays."}}
}

func archiveSettings(restore string) []setting {
	if restore == "" {
		return nil
	}
	return []setting{{restoreCommand, restore, "Your command, in a form in which no status of it ends the server."}}
}

func raisedSettings(raised []Raised) []setting {
	var all []setting
	for _, r := range raised {
		all = append(all, setting{r.Name, r.Value, r.comment()})
	}
	return all
}

// CommitWait is the synchronous_commit that is to be managed where commits wait for standbys: on, or
// remote_apply where the administrator's files ask for that.
func CommitWait(files ConfFiles) string {
	if strings.EqualFold(strings.TrimSpace(files.Of(synchronousCommit)), "remote_apply") {
		return "remote_apply"
	}
	return "on"
}

const synchronousCommit = "synchronous_commit"

// OverruledNames are the settings that are the same in every server of pgtwin's, whatever the files say.
func OverruledNames() []string {
	var names []string
	for _, s := range slices.Concat(recoverySettings(0), diskSettings(), []setting{{"hot_standby", "on", ""}}) {
		names = append(names, s.name)
	}
	return names
}

// AsForced says whether a file has an overruled setting as it is in force.
func AsForced(name, text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, s := range slices.Concat(recoverySettings(0), diskSettings(), []setting{{"hot_standby", "on", ""}}) {
		if s.name == name {
			on := s.value == "on" && slices.Contains([]string{"true", "yes", "1", "tru", "tr", "t", "ye", "y"}, text)
			return text == s.value || on
		}
	}
	return false
}

// LowersCommit says whether commits with this synchronous_commit are acknowledged before a standby has
// them (synchronous_commit_options of guc_tables.c).
func LowersCommit(value string) bool {
	return !slices.Contains([]string{"on", "remote_apply", "true", "yes", "1"}, strings.ToLower(strings.TrimSpace(value)))
}

// Server is how PostgreSQL is started on a data directory.
type Server struct {
	PGData     string
	ConfigFile string // ours, which includes the administrator's
	Major      int    // PostgreSQL's major version
	Raised     []Raised
	// HotStandbyOff makes the standby take no sessions. It then does not compare its settings with those
	// of the WAL that it replays, and its promotion puts lower ones into use.
	HotStandbyOff bool
	TLS           []string // settings by which copies of the TLS files are used (UseTLSCopies), none: the files
}

// Argv is the command of the server. What must not depend on any file is on the command line, which wins
// over all files and which ALTER SYSTEM cannot change.
func (s Server) Argv() []string {
	argv := []string{"postgres", "-D", s.PGData, "-c", "config_file=" + s.ConfigFile}
	for _, forced := range s.forced() {
		argv = append(argv, "-c", forced.name+"="+forced.value)
	}
	for _, set := range s.TLS {
		argv = append(argv, "-c", set)
	}
	return argv
}

func (s Server) forced() []setting {
	hot := setting{"hot_standby", "on", ""}
	if s.HotStandbyOff {
		hot.value = "off"
	}
	all := slices.Concat(recoverySettings(s.Major), diskSettings(), []setting{hot})
	for _, r := range s.Raised {
		all = append(all, setting{r.Name, r.Value, ""})
	}
	slices.SortFunc(all, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	return all
}
