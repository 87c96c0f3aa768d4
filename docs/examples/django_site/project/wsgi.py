"""For gunicorn: `gunicorn project.wsgi:application --worker-class gthread --threads 32`, a thread for each open stream."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_wsgi_application()
