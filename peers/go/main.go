// The driver of HashiCorp's Go client, with its defaults: `go URL PREFIX cycle|handover|hold NUMBER`.
// With `go-shared` as the first word all locks of a process share one session; in `handover`, each of the two
// contenders stands for a process. The commands are those of src/drive.rs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hashicorp/consul/api"
)

const (
	ttl       = "10s"
	lockDelay = time.Second
	settle    = 60 * time.Millisecond
	tick      = 200 * time.Millisecond
)

func main() {
	mode, url, prefix, command := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	count, err := strconv.Atoi(os.Args[5])
	must(err)
	config := api.DefaultConfig()
	config.Address = url
	client, err := api.NewClient(config)
	must(err)
	isShared := mode == "go-shared"
	session := newSession(client, isShared)
	switch command {
	case "cycle":
		for ; count > 0; count-- {
			began := time.Now()
			lock := newLock(client, prefix+"/0", session)
			acquire(lock)
			must(lock.Unlock())
			fmt.Println(time.Since(began).Nanoseconds())
		}
	case "handover":
		key, sessions := prefix+"/0", [2]string{session, newSession(client, isShared)}
		held := newLock(client, key, sessions[0])
		acquire(held)
		for ; count > 0; count-- {
			// The client grants a lock at once to any caller that uses the holder's session.
			sessions[0], sessions[1] = sessions[1], sessions[0]
			next, granted := newLock(client, key, sessions[0]), make(chan struct{})
			go func() { acquire(next); close(granted) }()
			time.Sleep(settle)
			began := time.Now()
			must(held.Unlock())
			<-granted
			fmt.Println(time.Since(began).Nanoseconds())
			held = next
		}
	case "hold":
		for number := 0; number < count; number++ {
			go hold(client, session, prefix, strconv.Itoa(number))
		}
		io.Copy(io.Discard, os.Stdin)
	default:
		log.Fatal(command)
	}
}

// newSession creates a session that locks can share and renews it, or returns "" if each has its own.
func newSession(client *api.Client, isShared bool) string {
	if !isShared {
		return ""
	}
	session, _, err := client.Session().Create(&api.SessionEntry{TTL: ttl, LockDelay: lockDelay}, nil)
	must(err)
	go client.Session().RenewPeriodic(ttl, session, nil, nil)
	return session
}

func newLock(client *api.Client, key, session string) *api.Lock {
	options := &api.LockOptions{Key: key, Session: session}
	if session == "" {
		options.SessionTTL = ttl
		options.SessionOpts = &api.SessionEntry{TTL: ttl, LockDelay: lockDelay}
	}
	lock, err := client.LockOpts(options)
	must(err)
	return lock
}

// acquire waits for the lock as long as it takes, and returns the signal of its loss.
func acquire(lock *api.Lock) <-chan struct{} {
	for {
		lost, err := lock.Lock(nil)
		if err == nil && lost != nil {
			return lost
		}
		time.Sleep(lockDelay)
	}
}

func hold(client *api.Client, session, prefix, key string) {
	for {
		acquires := print("acquire", key, now(), nil, nil, nil)
		lock := newLock(client, prefix+"/"+key, session)
		lost := acquire(lock)
		token := now()
		print("acquire", key, token, &acquires, &token, nil)
		for valid := true; valid; time.Sleep(tick) {
			from := now()
			select {
			case <-lost:
				valid = false
			default:
			}
			op := print("check", key, from, nil, &token, nil)
			print("check", key, now(), &op, &token, &valid)
		}
		lock.Unlock()
	}
}

var ops uint64

// print prints one line of a history: the beginning of an operation, or the end of `ended`.
func print(f, key string, time uint64, ended, token *uint64, valid *bool) uint64 {
	line := map[string]interface{}{"time": time, "f": f, "key": key, "type": "invoke"}
	var op uint64
	if ended == nil {
		op = atomic.AddUint64(&ops, 1) - 1
	} else {
		op, line["type"] = *ended, "ok"
	}
	line["op"] = op
	if token != nil {
		line["token"] = *token
	}
	if valid != nil {
		line["valid"] = *valid
	}
	text, err := json.Marshal(line)
	must(err)
	os.Stdout.Write(append(text, '\n'))
	return op
}

// now reads a clock that all processes of the machine share, in nanoseconds.
func now() uint64 {
	const boottime = 7
	var time syscall.Timespec
	if _, _, err := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, boottime, uintptr(unsafe.Pointer(&time)), 0); err != 0 {
		log.Fatal(err)
	}
	return uint64(time.Nano())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
