// Command addons holds what a cluster needs beside Kubernetes: names, metrics, and the network policies' enforcement.
package main

import (
	"fmt"
	"os"

	policies "github.com/cloudnativelabs/kube-router/v2/pkg/cmd"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	metrics "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func runDNS() error {
	dnsserver.Directives = []string{"errors", "kubernetes"}
	coremain.Run()
	return nil
}

func runMetrics() error {
	return metrics.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()).Execute()
}

func runPolicies() error {
	config := options.NewKubeRouterConfig()
	config.AddFlags(pflag.CommandLine)
	pflag.Parse()
	router, err := policies.NewKubeRouterDefault(config)
	if err != nil {
		return err
	}
	return router.Run()
}

var programs = map[string]func() error{"coredns": runDNS, "metrics-server": runMetrics, "kube-router": runPolicies}

func main() {
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "addons: the first argument must name a program")
		os.Exit(2)
	}
	run := programs[os.Args[1]]
	os.Args = append(os.Args[:1], os.Args[2:]...)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
