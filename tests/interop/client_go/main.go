// client-go against a served cluster: creates, watches, patches, applies, deletes, elects a leader.
//
// INTEROP_PROTOCOL is what has to be spoken: HTTP/2.0, or HTTP/1.1 (with DISABLE_HTTP2).
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const (
	protobuf = "application/vnd.kubernetes.protobuf"
	json     = "application/json"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(err)
	protocol := os.Getenv("INTEROP_PROTOCOL")
	spoken(config, protocol)
	for _, media := range []string{json, protobuf} {
		each := rest.CopyConfig(config)
		each.QPS, each.Burst = 1000, 1000
		each.ContentType = media
		each.AcceptContentTypes = media
		client := kubernetes.NewForConfigOrDie(each)
		namespace := "interop-go-" + strings.NewReplacer("/", "-", ".", "-").Replace(strings.ToLower(
			protocol+"-"+map[string]string{json: "json", protobuf: "protobuf"}[media]))
		_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		must(err)
		informed(ctx, client, namespace)
		applied(ctx, client, namespace)
		elected(ctx, client, namespace)
		must(client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}))
	}
	fmt.Println("OK")
}

// spoken makes sure that requests go over the protocol that was asked for.
func spoken(config *rest.Config, protocol string) {
	client, err := rest.HTTPClientFor(config)
	must(err)
	answer, err := client.Get(config.Host + "/version")
	must(err)
	defer answer.Body.Close()
	if protocol != "" && answer.Proto != protocol {
		log.Fatalf("%s was spoken, not %s", answer.Proto, protocol)
	}
}

func must(err error) {
	if err != nil {
		log.Fatalf("%+v", err)
	}
}

func check(holds bool, what string, values ...any) {
	if !holds {
		log.Fatalf(what, values...)
	}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"interop": "yes"},
	}, Data: map[string]string{"key": value}}
}

func informed(ctx context.Context, client kubernetes.Interface, namespace string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "interop=yes" }))
	events := make(chan string, 100)
	informer := factory.Core().V1().ConfigMaps().Informer()
	note := func(what string) func(any) {
		return func(obj any) { events <- what + obj.(*corev1.ConfigMap).Name }
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: note("+"), DeleteFunc: note("-"),
		UpdateFunc: func(_, obj any) { note("~")(obj) },
	})
	must(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	maps := client.CoreV1().ConfigMaps(namespace)
	for _, name := range []string{"a", "b", "c"} {
		_, err := maps.Create(ctx, configMap(name, "1"), metav1.CreateOptions{})
		must(err)
	}
	patched, err := maps.Patch(ctx, "a", types.MergePatchType,
		[]byte(`{"data": {"key": "2"}}`), metav1.PatchOptions{})
	must(err)
	check(patched.Data["key"] == "2", "merge patch: %v", patched.Data)
	stale := patched.DeepCopy()
	stale.ResourceVersion = "1"
	_, err = maps.Update(ctx, stale, metav1.UpdateOptions{})
	check(apierrors.IsConflict(err), "a stale update: %v", err)
	other := types.UID("another")
	err = maps.Delete(ctx, "b", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	check(apierrors.IsConflict(err), "another's uid: %v", err)
	must(maps.Delete(ctx, "b", *metav1.NewDeleteOptions(0)))
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 1, LabelSelector: "interop=yes"})
	must(err)
	check(len(page.Items) == 1 && page.Continue != "", "a page: %v", page)

	var seen []string
	for len(seen) < 5 {
		select {
		case event := <-events:
			seen = append(seen, event)
		case <-time.After(10 * time.Second):
			log.Fatalf("events: %v", seen)
		}
	}
	check(slices.Equal(seen, []string{"+a", "+b", "+c", "~a", "-b"}), "events: %v", seen)
}

func applied(ctx context.Context, client kubernetes.Interface, namespace string) {
	deployments := client.AppsV1().Deployments(namespace)
	wanted := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		labels := map[string]string{"app": "web"}
		return appsapply.Deployment("web", namespace).WithSpec(appsapply.DeploymentSpec().
			WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().
				WithContainers(coreapply.Container().WithName("web").WithImage("web:1")))))
	}
	_, err := deployments.Apply(ctx, wanted(1), metav1.ApplyOptions{FieldManager: "one"})
	must(err)
	_, err = deployments.Apply(ctx, wanted(2), metav1.ApplyOptions{FieldManager: "two"})
	check(apierrors.IsConflict(err), "two appliers: %v", err)
	forced, err := deployments.Apply(ctx, wanted(2), metav1.ApplyOptions{FieldManager: "two", Force: true})
	must(err)
	check(*forced.Spec.Replicas == 2, "forced: %v", *forced.Spec.Replicas)
	patched, err := deployments.Patch(ctx, "web", types.StrategicMergePatchType, []byte(
		`{"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}}`),
		metav1.PatchOptions{})
	must(err)
	check(len(patched.Spec.Template.Spec.Containers) == 2, "strategic merge patch")
	// The deployment controller writes too.
	must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
		must(err)
		scale.Spec.Replicas = 3
		_, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
		return err
	}))
}

func elected(ctx context.Context, client kubernetes.Interface, namespace string) {
	leads := make(chan string, 10)
	campaign := func(name string) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: namespace},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second,
			RetryPeriod: 500 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leads <- name },
				OnStoppedLeading: func() {},
			},
		})
		return cancel
	}
	next := func(patience time.Duration) string {
		select {
		case name := <-leads:
			return name
		case <-time.After(patience):
			return ""
		}
	}
	one := campaign("one")
	check(next(10*time.Second) == "one", "the first leads")
	two := campaign("two")
	defer two()
	check(next(time.Second) == "", "the second waits")
	one()
	check(next(20*time.Second) == "two", "the second leads")
}
