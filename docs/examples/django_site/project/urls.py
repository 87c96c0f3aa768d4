"""Which address leads to which view?"""

from answers import views
from django.urls import path

urlpatterns = [
    path("", views.compare, name="compare"),
    path("ask", views.ask, name="ask"),
    path("ask/answer", views.answer, name="answer"),
    path("batch", views.batch, name="batch"),
    path("batch/results", views.results, name="results"),
]
