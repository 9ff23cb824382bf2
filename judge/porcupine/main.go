// Prints for each history of a folder whether it is that of a fenced mutex, as ../src/main.rs does, by
// porcupine instead of stateright: `go run -mod=mod . FOLDER`. Porcupine judges long histories whole.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

type line struct {
	Time    int64
	Process string
	Op      int
	Type    string
	F       string
	Key     string
	Token   uint64
	Valid   bool
}

// owner is a process and the token of its ownership.
type owner struct {
	process string
	token   uint64
}

type mutex struct {
	owner   owner
	largest uint64
}

var model = porcupine.Model{
	Init: func() interface{} { return mutex{} },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		now, begun, ended := state.(mutex), input.(line), output.(line)
		who := owner{begun.Process, ended.Token}
		switch {
		case begun.F == "acquire":
			return who.token > now.largest, mutex{who, who.token}
		case begun.F == "check" && ended.Valid:
			return now.owner == who, now
		case begun.F == "release" && ended.Type == "ok":
			return now.owner == who, mutex{owner{}, now.largest}
		case now.owner == who:
			return true, mutex{owner{}, now.largest}
		}
		return true, now
	},
}

func main() {
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.jsonl"))
	if err != nil || len(files) == 0 {
		log.Fatal("no histories: ", err)
	}
	for _, file := range files {
		verdict := "good"
		for key, operations := range read(file) {
			if !porcupine.CheckOperations(model, operations) {
				verdict = "bad"
				fmt.Fprintf(os.Stderr, "%s: no order of the %d operations on %s\n", file, len(operations), key)
				break
			}
		}
		fmt.Println(strings.TrimSuffix(filepath.Base(file), ".jsonl"), verdict)
	}
}

// read returns the operations on each key.
func read(file string) map[string][]porcupine.Operation {
	opened, err := os.Open(file)
	if err != nil {
		log.Fatal(err)
	}
	defer opened.Close()
	begun, ended := map[int]line{}, map[int]line{}
	for scanner := bufio.NewScanner(opened); scanner.Scan(); {
		var read line
		if err := json.Unmarshal(scanner.Bytes(), &read); err != nil {
			log.Fatal(file, ": ", err)
		}
		if read.Type == "invoke" {
			begun[read.Op] = read
		} else {
			ended[read.Op] = read
		}
	}
	keys := map[string][]porcupine.Operation{}
	for op, from := range begun {
		to, known := ended[op]
		if !known {
			to = line{Token: from.Token, Type: "info"}
		}
		if from.F == "acquire" && to.Type != "ok" {
			continue // No lease came of it, and nobody acts as its owner.
		}
		if to.Type == "info" {
			to.Time = math.MaxInt64
		}
		keys[from.Key] = append(keys[from.Key], porcupine.Operation{
			Input: from, Call: from.Time, Output: to, Return: to.Time,
		})
	}
	for _, operations := range keys {
		sort.Slice(operations, func(a, b int) bool { return operations[a].Call < operations[b].Call })
	}
	return keys
}
