"""What can answer: one Protocol, local transformers, OpenAI-compatible endpoints, a scripted fake; prices."""

from luthier.models._base import Answer, Constraint, Model, Price, Request

__all__ = ["Answer", "Constraint", "Model", "Price", "Request"]
