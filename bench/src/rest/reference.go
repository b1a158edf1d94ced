// The reference loop: one glob over a pattern and one stat for each match, into a map.
//
// Usage: reference PATTERN RUNS. Prints how many were found, then how long each run took, in nanoseconds.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

type state struct {
	size  int64
	mtime time.Time
}

func scan(pattern string) map[string]state {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		panic(err)
	}
	seen := make(map[string]state)
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		seen[path] = state{info.Size(), info.ModTime()}
	}
	return seen
}

func main() {
	runs, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	fmt.Println(len(scan(os.Args[1])))
	for range runs {
		start := time.Now()
		scan(os.Args[1])
		fmt.Println(time.Since(start).Nanoseconds())
	}
}
