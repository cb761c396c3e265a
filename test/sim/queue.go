package sim

import (
	"container/heap"
	"time"
)

// queue is virtual time: events in the order of their time, those of one
// moment in the order in which they were scheduled.
type queue struct {
	now    time.Duration
	seq    uint64
	events events
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// after schedules do for d from now.
func (q *queue) after(d time.Duration, do func()) {
	q.seq++
	heap.Push(&q.events, event{q.now + max(d, 0), q.seq, do})
}

// step runs the next event; false when there is none.
func (q *queue) step() bool {
	if len(q.events) == 0 {
		return false
	}
	e := heap.Pop(&q.events).(event)
	q.now = e.at
	e.do()
	return true
}

// events is a heap.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}
