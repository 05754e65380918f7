// Helm's own library against a served cluster: installs, upgrades, rolls back, uninstalls a chart.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
)

const manifest = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`

func must(err error) {
	if err != nil {
		log.Fatalf("%+v", err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	settings := cli.New()
	settings.KubeConfig = os.Getenv("KUBECONFIG")
	config := action.NewConfiguration()
	must(config.Init(settings.RESTClientGetter(), "default", "secrets"))
	web := &chart.Chart{
		Metadata:  &chart.Metadata{APIVersion: "v2", Name: "web", Version: "1.0.0"},
		Templates: []*common.File{{Name: "templates/all.yaml", Data: []byte(manifest)}},
		Values:    map[string]any{"greeting": "hello", "replicas": 1},
	}

	install := action.NewInstall(config)
	install.ReleaseName, install.Namespace = "web", "default"
	install.WaitStrategy = kube.HookOnlyStrategy
	_, err := install.RunWithContext(ctx, web, map[string]any{})
	must(err)

	upgrade := action.NewUpgrade(config)
	upgrade.Namespace, upgrade.WaitStrategy = "default", kube.HookOnlyStrategy
	_, err = upgrade.RunWithContext(ctx, "web", web, map[string]any{"replicas": 2})
	must(err)

	rollback := action.NewRollback(config)
	rollback.Version, rollback.WaitStrategy = 1, kube.HookOnlyStrategy
	must(rollback.Run("web"))

	history, err := action.NewHistory(config).Run("web")
	must(err)
	if len(history) != 3 {
		log.Fatalf("history: %v", history)
	}
	uninstall := action.NewUninstall(config)
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	_, err = uninstall.Run("web")
	must(err)
	fmt.Println("OK")
}
