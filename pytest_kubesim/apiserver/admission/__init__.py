"""Admission: plugins that change or refuse objects on their way to the store (`chain`)."""
