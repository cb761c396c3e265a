// Package sim is a deterministic simulator of a whole cluster around the real
// decisions of package ha. It searches for schedules of faults after which an
// acknowledged commit is missing, two hosts acknowledge writes, or the service
// does not come back.
//
// A run is a function of a configuration, a seed and a schedule of faults:
// virtual time, one queue of events, one random generator, no goroutine. After
// every event the invariants of docs/design.md, section 3, are checked, by their
// numbers there; "strict" is that no commit is acknowledged which a standby lacks,
// and "liveness" that the service is whole again five minutes after the last
// fault. A run that fails is replayed with a trace and its schedule made smaller.
//
// The code under test (type core) is package ha itself. Around it stands a thin
// copy of what the supervisor, an activation and the agent's actions do: they
// observe, read a view of the cluster that is some milliseconds old, and act one
// step at a time, and can be killed between any two steps.
//
// What is modelled:
//
//   - PostgreSQL: timelines and their history, WAL written, flushed, received and
//     replayed, commits that wait for the standbys required by the setting in
//     force, a reload that takes effect later for commits than for the session
//     that shows it, fast shutdown, crash, promotion with reserved timelines,
//     cascading, rewind and clone that can be interrupted. WAL is identified by
//     timeline and position, so a host's content is its history and its end.
//   - Pacemaker: membership that each side notices in its own time (the token
//     timeout), two_node with wait_for_all or a majority of three, a copy of the
//     CIB per host, updates in one order per partition that take time, that block
//     while a lost member is not noticed, and that reach one side alone when the
//     cut comes at their moment; the copy of the higher version wins at a join, the
//     disk's copy is older than the memory's; promotion scores that arrive late;
//     fencing that races, takes time and fails; a controller that changes; failed
//     actions and what follows from them.
//   - Clients that write on whatever claims to be a primary.
//
// Without fencing two hosts may both be primary, and the records of one side are
// lost when they meet: invariants 1 to 4 and liveness are not promised then, and
// of 13 only that no two hosts use the same number.
//
// What is not: in asynchronous mode, how much may be lost (what is written while a
// loss is noticed has no bound of its own); jumps of the wall clock (the code
// under test uses the monotonic clock only); WAL retention (a standby can always
// stream on); an administrator's force_promotion; data that were there before any
// record; loss of what was flushed, the note of the latest epoch included; that
// a restarted supervisor forgets which of its records got no answer.
package sim
