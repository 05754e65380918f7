package website

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"example.com/website-operator/kubesim"
)

// The folder of `kubesim envtest` is named by KUBEBUILDER_ASSETS, as that of the real binaries is.
func TestTheOperatorBearsThatTheAnswerToItsUpdateIsLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	environment := &envtest.Environment{}
	config, err := environment.Start()
	must(t, err)
	defer func() { must(t, environment.Stop()) }()
	sim, err := kubesim.For(config)
	must(t, err)
	tester, err := client.New(config, client.Options{})
	must(t, err)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	start(t, ctx, config)

	site := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "home", Labels: map[string]string{"website": "yes"},
		},
		Data: map[string]string{"image": "web:1"},
	}
	must(t, tester.Create(ctx, site))
	eventually(t, ctx, tester, "web:1")

	fault, err := sim.Arm(ctx,
		`kubesim.faults.api(client="website-operator", verb="update", resource="deployments").apply_but_drop_answer()`)
	must(t, err)
	site.Data["image"] = "web:2"
	must(t, tester.Update(ctx, site))
	eventually(t, ctx, tester, "web:2")
	fault, err = sim.Fault(ctx, fault.ID)
	must(t, err)
	if fault.Struck != 1 {
		t.Fatalf("the fault struck %d times", fault.Struck)
	}

	must(t, sim.Snapshot(ctx, "two"))
	site.Data["image"] = "web:3"
	must(t, tester.Update(ctx, site))
	eventually(t, ctx, tester, "web:3")
	must(t, sim.Restore(ctx, "two"))
	eventually(t, ctx, tester, "web:2")

	before, err := sim.Clock(ctx)
	must(t, err)
	must(t, sim.Advance(ctx, time.Hour))
	after, err := sim.Clock(ctx)
	must(t, err)
	if after.ElapsedSeconds-before.ElapsedSeconds < 3600 {
		t.Fatalf("no hour has passed: %v, %v", before, after)
	}
	must(t, sim.Settle(ctx, 10*time.Minute))
	entries, err := sim.Journal(ctx, "website-operator")
	must(t, err)
	if len(entries) == 0 {
		t.Fatal("the journal knows nothing of the operator")
	}
}

func start(t *testing.T, ctx context.Context, config *rest.Config) {
	t.Helper()
	own := rest.CopyConfig(config)
	own.UserAgent = "website-operator/v1" // by which faults and the journal know it
	manager, err := ctrl.NewManager(own, ctrl.Options{Metrics: server.Options{BindAddress: "0"}})
	must(t, err)
	must(t, (&Reconciler{Client: manager.GetClient()}).SetupWithManager(manager))
	go func() {
		if err := manager.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
}

func eventually(t *testing.T, ctx context.Context, tester client.Client, image string) {
	t.Helper()
	found := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "default", Name: "home"}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 20*time.Second, true,
		func(ctx context.Context) (bool, error) {
			if err := tester.Get(ctx, key, found); err != nil {
				return false, client.IgnoreNotFound(err)
			}
			return found.Spec.Template.Spec.Containers[0].Image == image, nil
		})
	if err != nil {
		t.Fatalf("no deployment of %s: %v", image, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
