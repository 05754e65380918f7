"""The resources that the simulated binaries ask for, by name."""

from __future__ import annotations

from pytest_kubesim.apimachinery.meta import GroupVersionResource as _R  # noqa: N814 - a word for each line

BINDINGS = _R("", "v1", "bindings")
CONFIGMAPS = _R("", "v1", "configmaps")
ENDPOINTS = _R("", "v1", "endpoints")
EVENTS = _R("", "v1", "events")
LIMITRANGES = _R("", "v1", "limitranges")
NAMESPACES = _R("", "v1", "namespaces")
NODES = _R("", "v1", "nodes")
PERSISTENTVOLUMECLAIMS = _R("", "v1", "persistentvolumeclaims")
PERSISTENTVOLUMES = _R("", "v1", "persistentvolumes")
PODS = _R("", "v1", "pods")
PODTEMPLATES = _R("", "v1", "podtemplates")
REPLICATIONCONTROLLERS = _R("", "v1", "replicationcontrollers")
RESOURCEQUOTAS = _R("", "v1", "resourcequotas")
SECRETS = _R("", "v1", "secrets")
SERVICEACCOUNTS = _R("", "v1", "serviceaccounts")
SERVICES = _R("", "v1", "services")

CONTROLLERREVISIONS = _R("apps", "v1", "controllerrevisions")
DAEMONSETS = _R("apps", "v1", "daemonsets")
DEPLOYMENTS = _R("apps", "v1", "deployments")
REPLICASETS = _R("apps", "v1", "replicasets")
STATEFULSETS = _R("apps", "v1", "statefulsets")

CRONJOBS = _R("batch", "v1", "cronjobs")
JOBS = _R("batch", "v1", "jobs")

HORIZONTALPODAUTOSCALERS = _R("autoscaling", "v2", "horizontalpodautoscalers")

CERTIFICATESIGNINGREQUESTS = _R("certificates.k8s.io", "v1", "certificatesigningrequests")
CLUSTERTRUSTBUNDLES = _R("certificates.k8s.io", "v1", "clustertrustbundles")
PODCERTIFICATEREQUESTS = _R("certificates.k8s.io", "v1", "podcertificaterequests")
LEASES = _R("coordination.k8s.io", "v1", "leases")
ENDPOINTSLICES = _R("discovery.k8s.io", "v1", "endpointslices")
EVENTS_V1 = _R("events.k8s.io", "v1", "events")

INGRESSCLASSES = _R("networking.k8s.io", "v1", "ingressclasses")
INGRESSES = _R("networking.k8s.io", "v1", "ingresses")
IPADDRESSES = _R("networking.k8s.io", "v1", "ipaddresses")
NETWORKPOLICIES = _R("networking.k8s.io", "v1", "networkpolicies")
SERVICECIDRS = _R("networking.k8s.io", "v1", "servicecidrs")

RUNTIMECLASSES = _R("node.k8s.io", "v1", "runtimeclasses")
PODDISRUPTIONBUDGETS = _R("policy", "v1", "poddisruptionbudgets")

CLUSTERROLEBINDINGS = _R("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
CLUSTERROLES = _R("rbac.authorization.k8s.io", "v1", "clusterroles")
ROLEBINDINGS = _R("rbac.authorization.k8s.io", "v1", "rolebindings")
ROLES = _R("rbac.authorization.k8s.io", "v1", "roles")

DEVICECLASSES = _R("resource.k8s.io", "v1", "deviceclasses")
DEVICETAINTRULES = _R("resource.k8s.io", "v1", "devicetaintrules")
RESOURCECLAIMS = _R("resource.k8s.io", "v1", "resourceclaims")
RESOURCECLAIMTEMPLATES = _R("resource.k8s.io", "v1", "resourceclaimtemplates")
RESOURCESLICES = _R("resource.k8s.io", "v1", "resourceslices")

PRIORITYCLASSES = _R("scheduling.k8s.io", "v1", "priorityclasses")

CSIDRIVERS = _R("storage.k8s.io", "v1", "csidrivers")
CSINODES = _R("storage.k8s.io", "v1", "csinodes")
CSISTORAGECAPACITIES = _R("storage.k8s.io", "v1", "csistoragecapacities")
STORAGECLASSES = _R("storage.k8s.io", "v1", "storageclasses")
VOLUMEATTACHMENTS = _R("storage.k8s.io", "v1", "volumeattachments")
VOLUMEATTRIBUTESCLASSES = _R("storage.k8s.io", "v1", "volumeattributesclasses")

MUTATINGWEBHOOKCONFIGURATIONS = _R(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"
)
VALIDATINGADMISSIONPOLICIES = _R(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"
)
VALIDATINGWEBHOOKCONFIGURATIONS = _R(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"
)
STORAGEVERSIONMIGRATIONS = _R("storagemigration.k8s.io", "v1", "storageversionmigrations")
APISERVICES = _R("apiregistration.k8s.io", "v1", "apiservices")
CUSTOMRESOURCEDEFINITIONS = _R("apiextensions.k8s.io", "v1", "customresourcedefinitions")
