// Package corpus plays the databases that administrators already have: every folder beside this file is
// one of them, README.md has the format.
//
// Each host of a story is a process in namespaces of its own with the shipped instance.Activation and
// supervisor.Supervisor in it. The test's process is Pacemaker, in a few lines.
package corpus
